// The SDK's own bundle in a page whose network goes: what was missed comes in order, and others are seen to come and go.
import assert from 'node:assert/strict';
import { withBrowser } from './browser.mjs';
import { serveElsewhere } from './elsewhere.mjs';
import { clients, connect, isBinary, leave, push, subscribe, websocketUrl, within } from './lib.mjs';

const { host, close } = await serveElsewhere();
const TEN = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/** Runs in the page: keeps all that happens to a subscription in `window.seen`. */
async function watch({ url, binary }) {
  const client = new window.Centrifuge(url, { minReconnectDelay: 50, maxReconnectDelay: 500 });
  const subscription = client.newSubscription('news');
  const seen = (window.seen = { publications: [], subscribed: [], present: [], connecting: 0 });
  client.on('connecting', () => (seen.connecting += 1));
  client.on('connected', (context) => (seen.id = context.client));
  subscription.on('publication', ({ data, offset }) => {
    seen.publications.push({ data: binary ? JSON.parse(new TextDecoder().decode(data)) : data, offset });
  });
  subscription.on('subscribed', ({ wasRecovering, recovered }) => seen.subscribed.push([wasRecovering, recovered]));
  subscription.on('join', ({ info }) => seen.present.push(`+${info.client}`));
  subscription.on('leave', ({ info }) => seen.present.push(`-${info.client}`));
  client.connect();
  subscription.subscribe();
  await subscription.ready();
  window.presence = async () => Object.keys((await subscription.presence()).clients);
}

/** Waits until what the page has seen is so. */
async function until(page, what, holds, expected) {
  await within(what, page.waitForFunction(holds, expected));
  return page.evaluate(() => window.seen);
}

await withBrowser(async (newPage) => {
  const { page, faults } = await newPage();
  await page.goto(`http://${host}/`);
  await within('the page subscribes', page.evaluate(watch, { url: websocketUrl, binary: isBinary }));
  const { id } = await until(page, 'it sees itself join', () => window.seen.present.includes(`+${window.seen.id}`));

  const other = await connect();
  const { subscription } = await subscribe(other.client, 'news');
  const both = [id, other.id].sort();
  await until(page, 'it sees another join', (client) => window.seen.present.includes(`+${client}`), other.id);
  assert.deepEqual((await page.evaluate(() => window.presence())).sort(), both);
  subscription.unsubscribe();
  await until(page, 'it sees another leave', (client) => window.seen.present.includes(`-${client}`), other.id);
  assert.deepEqual(await page.evaluate(() => window.presence()), [id]);

  await push({ channel: 'news' }, 0);
  await until(page, 'the first arrives', () => window.seen.publications.length === 1);
  await page.context().setOffline(true);
  await until(page, 'its connection goes', () => window.seen.connecting === 2);
  for (const number of TEN) await push({ channel: 'news' }, number);
  assert.equal((await page.evaluate(() => window.seen.publications)).length, 1);
  await page.context().setOffline(false);
  const { publications, subscribed } = await until(page, 'all arrive', () => window.seen.publications.length === 11);
  assert.deepEqual(publications.map(({ data }) => data), [0, ...TEN]);
  assert.deepEqual(publications.map(({ offset }) => offset), [1, ...TEN.map((number) => number + 1)]);
  assert.deepEqual(subscribed, [[false, false], [true, true]]);
  // The browser reports the attempts that were made while it was offline, and those that the SDK gave up for it.
  const attempts = /ERR_INTERNET_DISCONNECTED|WebSocket is closed before the connection is established/;
  assert.deepEqual(faults(host, clients).filter((fault) => !attempts.test(fault)), []);
});
close();
leave();
