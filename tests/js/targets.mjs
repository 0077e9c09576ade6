// Targets: a push to one connection reaches it alone, and one to a channel spares whom it excludes.
import assert from 'node:assert/strict';
import { PATIENCE, connect, decode, leave, push, roundTrip, subscribe } from './lib.mjs';

const alice = await connect();
const bob = await connect();
const news = await subscribe(alice.client, 'news');
const sameNews = await subscribe(bob.client, 'news');

const receipt = await push({ connection: alice.id }, { only: 'you' });
assert.deepEqual([receipt.nodes_asked, receipt.written, receipt.complete], [1, 1, true]);
assert.deepEqual(decode((await alice.message.count(1)).data), { only: 'you' });
await roundTrip(bob.client);
assert.equal(bob.message.items.length, 0);
assert.equal(news.publications.items.length, 0);

const spared = await push({ channel: 'news' }, 'from alice', { message: { exclude_connections: [alice.id] } });
assert.equal(spared.written, 1);
assert.equal((await push({ channel: 'news' }, 'for all')).written, 2);
await news.publications.count(1);
await sameNews.publications.count(2);
const values = ({ publications }) => publications.items.map(({ data }) => decode(data));
assert.deepEqual(values(news), ['for all']);
assert.deepEqual(values(sameNews), ['from alice', 'for all']);

// Who is gone gets nothing any more, as soon as the server knows it.
alice.client.disconnect();
const deadline = Date.now() + PATIENCE;
let gone;
do {
  assert.ok(Date.now() < deadline, `still written: ${JSON.stringify(gone)}`);
  gone = await push({ connection: alice.id }, 1);
} while (gone.written + gone.pending + gone.cut > 0);
assert.deepEqual([gone.nodes_asked, gone.complete], [1, true]);
leave();
