// The developer's page in a real browser: it shows what is pushed and who is there, publishes, and recovers what it missed.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withBrowser } from './browser.mjs';
import { api, clients, leave, within } from './lib.mjs';

const pageUrl = `http://${clients}/`;
const screenshots = process.env.FANFARE_SCREENSHOTS;
const run = promisify(execFile);
const TOO_MANY = 301; // for one recovery, whatever the history keeps

/** Pastes a command of the page into a shell. */
async function paste(page, command) {
  const text = await page.locator(command).textContent();
  assert.match(text, new RegExp(`fanfare push --endpoint http://${api} `));
  return shell(text);
}

const shell = (text) => within(`the shell runs ${text}`, run('sh', ['-c', text]));

/** The newest message that the page shows, once its data is as expected. */
async function shown(page, data) {
  const row = page.locator('#log li.message', { has: page.locator('.data', { hasText: data }) }).first();
  await row.waitFor();
  return { data: await row.locator('.data').textContent(), delay: await row.locator('.delay').textContent() };
}

async function picture(page, name) {
  if (screenshots) await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
}

async function assertFits(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px of content scroll sideways in ${window} px`);
}

/** Waits until the page says that it is connected, or something else. */
const status = (page, text) => page.locator('#status', { hasText: new RegExp(`^${text}$`) }).waitFor();

async function connected(page) {
  await page.goto(pageUrl);
  await status(page, 'connected');
  await page.locator('#channels li.live').waitFor();
}

async function showsPushes(page) {
  await connected(page);
  await paste(page, '#push-command');
  const { data, delay } = await shown(page, 'world');
  assert.deepEqual(JSON.parse(data), { hello: 'world' });
  assert.match(delay, /^(< 1|\d+(\.\d)?) ms$|^\d+\.\d s$/);
  await paste(page, '#connection-command');
  await shown(page, 'you');
}

async function publishes(page) {
  await page.locator('#publish-data').fill('{"from": "<b>page</b>"}');
  await page.locator('#publish-form button[type=submit]').click();
  const { data, delay } = await shown(page, 'from');
  assert.deepEqual(JSON.parse(data), { from: '<b>page</b>' });
  assert.match(delay, /round trip$/);
  await page.locator('#publish-data').fill('{');
  await page.locator('#publish-form button[type=submit]').click();
  await page.locator('#publish-hint.error').waitFor();
}

/** The page's command without its data. */
const pushCommand = async (page) => (await page.locator('#push-command').textContent()).replace(/'\{.*$/, '');

/** As docs/second-page.md says it, for the server under test. */
async function pushTen(page) {
  const command = await pushCommand(page);
  await shell(String.raw`for i in $(seq 10); do ${command} "{\"n\": $i}"; done`);
}

/** The text of these cells of the rows that were recovered, oldest first. */
async function recovered(page, cell) {
  const cells = await page.locator(`#log li.recovered ${cell}`).allTextContents();
  return cells.reverse(); // the newest row is on top
}

async function recoversWhatItMissed(page, name) {
  await page.locator('#clear').click();
  await page.locator('#network').focus();
  await page.keyboard.press('Space');
  await status(page, 'network off');
  assert.equal(await page.locator('#network').getAttribute('aria-checked'), 'false');
  await pushTen(page);
  assert.equal(await page.locator('#log li.message').count(), 0);
  await assertFits(page);
  await picture(page, `${name}-network-off`);
  await page.keyboard.press('Space');
  await status(page, 'connected');
  await page.locator('#log .note', { hasText: 'nothing was lost, 10 missed and recovered' }).waitFor();
  const data = (await recovered(page, '.data')).map((text) => JSON.parse(text));
  assert.deepEqual(data, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => ({ n })));
  const offsets = (await recovered(page, '.offset')).map(Number);
  assert.deepEqual(offsets, offsets.map((_, index) => offsets[0] + index));
  assert.deepEqual(new Set(await recovered(page, '.badge')), new Set(['missed, recovered']));
  await paste(page, '#push-command');
  await shown(page, 'world');
  assert.equal(await page.locator('#log li.recovered').count(), 10, 'what is pushed afterwards is live');
}

async function isToldOfALoss(page) {
  await page.locator('#network').click();
  await status(page, 'network off');
  await shell(`seq ${TOO_MANY} | ${await pushCommand(page)} -`);
  await page.locator('#network').click();
  await page.locator('#log .note.error', { hasText: 'continuity was lost, messages may be missing here' }).waitFor();
  assert.equal(await page.locator('#log li.recovered').count(), 10, 'half of it is not shown as if it were all');
}

/** Waits until the page lists so many connections. */
async function lists(page, count) {
  await page.locator('#present-count', { hasText: new RegExp(`^${count} connection`) }).waitFor();
  await page.locator('#members li').nth(count - 1).waitFor();
  assert.equal(await page.locator('#members li').count(), count);
}

async function seesAnotherComeAndGo(page, newPage) {
  await lists(page, 1);
  assert.match(await page.locator('#members li').first().textContent(), /this page/);
  const { page: other, faults } = await newPage({ viewport: { width: 800, height: 600 } });
  await connected(other);
  await lists(other, 2);
  await lists(page, 2);
  await other.locator('#network').click();
  await lists(page, 1);
  await other.locator('#network').click();
  await lists(page, 2);
  assert.deepEqual(faults(clients), []);
  await other.context().close();
  await lists(page, 1);
  await page.locator('#log .note', { hasText: 'left' }).first().waitFor();
}

async function saysThatPresenceIsOff(page) {
  await page.locator('#channel-input').fill('plain:1');
  await page.locator('#subscribe-form button').click();
  await page.locator('#present-count', { hasText: 'Presence is off in this channel (error 108).' }).waitFor();
  await page.locator('#channels .name', { hasText: 'news' }).click();
  await lists(page, 1);
  await page.locator('#channels .remove[aria-label$="plain:1"]').click();
}

await withBrowser(async (newPage) => {
  for (const [width, colorScheme] of [[1280, 'light'], [1280, 'dark'], [360, 'light'], [360, 'dark']]) {
    const { page, faults } = await newPage({ viewport: { width, height: 800 }, colorScheme });
    const name = `${width}-${colorScheme}`;
    await showsPushes(page);
    await publishes(page);
    if (colorScheme === 'light') await seesAnotherComeAndGo(page, newPage);
    await recoversWhatItMissed(page, name);
    await assertFits(page);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = background.match(/\d+/g).map(Number);
    assert.equal(red < 128, colorScheme === 'dark', background);
    await picture(page, name);
    if (colorScheme === 'light') {
      await saysThatPresenceIsOff(page);
      await isToldOfALoss(page);
    }
    assert.deepEqual(faults(clients), []);
    await page.context().close();
  }
});
leave();
