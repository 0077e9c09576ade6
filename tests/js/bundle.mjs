// The SDK's own bundle in a web page on another port of this machine: it may connect, and speaks both encodings.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { withBrowser } from './browser.mjs';
import { clients, encoding, isBinary, leave, push, websocketUrl, within } from './lib.mjs';

const file = isBinary ? 'centrifuge.protobuf.js' : 'centrifuge.js';
const bundle = await readFile(new URL(`node_modules/centrifuge/dist/${file}`, import.meta.url));
const PAGE = '<!doctype html><title>A page elsewhere</title><link rel="icon" href="data:,"><script src="/bundle.js"></script>';
const server = createServer((request, response) => {
  const isScript = request.url === '/bundle.js';
  response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
  response.end(isScript ? bundle : PAGE);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const host = `localhost:${server.address().port}`;

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
server.close();
leave();
