// The SDK's own bundle in a web page on another port of this machine: it may connect, and speaks both encodings.
import assert from 'node:assert/strict';
import { withBrowser } from './browser.mjs';
import { serveElsewhere } from './elsewhere.mjs';
import { clients, encoding, isBinary, leave, push, websocketUrl, within } from './lib.mjs';

const { host, close } = await serveElsewhere();

/** Runs in the page: the first publication as text, once there is a subscription. */
async function subscribe({ url, binary }) {
  const client = new window.Centrifuge(url);
  const subscription = client.newSubscription('news');
  const publication = new Promise((resolve) => subscription.on('publication', resolve));
  window.publication = publication.then(({ data }) => (binary ? new TextDecoder().decode(data) : JSON.stringify(data)));
  client.connect();
  subscription.subscribe();
  await subscription.ready();
}

await withBrowser(async (newPage) => {
  const { page, faults } = await newPage();
  await page.goto(`http://${host}/`);
  await within('the page subscribes', page.evaluate(subscribe, { url: websocketUrl, binary: isBinary }));
  assert.equal((await push({ channel: 'news' }, { hello: encoding })).written, 1);
  const text = await within('the page receives', page.evaluate(() => window.publication));
  assert.deepEqual(JSON.parse(text), { hello: encoding });
  assert.deepEqual(faults(host, clients), []);
});
close();
leave();
