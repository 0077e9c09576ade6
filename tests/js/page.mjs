// The developer's page in a real browser: it connects, shows what is pushed and how late it came, and publishes.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withBrowser } from './browser.mjs';
import { api, clients, leave, within } from './lib.mjs';

const pageUrl = `http://${clients}/`;
const screenshots = process.env.FANFARE_SCREENSHOTS;
const run = promisify(execFile);

/** Pastes a command of the page into a shell. */
async function paste(page, command) {
  const text = await page.locator(command).textContent();
  assert.match(text, new RegExp(`fanfare push --endpoint http://${api} `));
  return within(`the shell runs ${text}`, run('sh', ['-c', text]));
}

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

async function connected(page) {
  await page.goto(pageUrl);
  await page.locator('#status', { hasText: /^connected$/ }).waitFor();
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

await withBrowser(async (newPage) => {
  for (const [width, colorScheme] of [[1280, 'light'], [1280, 'dark'], [360, 'light'], [360, 'dark']]) {
    const { page, faults } = await newPage({ viewport: { width, height: 800 }, colorScheme });
    await showsPushes(page);
    await publishes(page);
    await assertFits(page);
    const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const [red] = background.match(/\d+/g).map(Number);
    assert.equal(red < 128, colorScheme === 'dark', background);
    await picture(page, `${width}-${colorScheme}`);
    assert.deepEqual(faults(clients), []);
  }
});
leave();
