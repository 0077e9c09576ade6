// Recovery: what was published while a client was away comes in order, or the client is told that it cannot.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { Record, connect, decode, leave, push, subscribe } from './lib.mjs';

const sockets = [];
class Kept extends WebSocket {
  constructor(...address) {
    super(...address);
    sockets.push(this);
  }
}

const { client, connecting, connected } = await connect({ websocket: Kept });
const values = ({ items }) => items.map(({ data }) => decode(data));
const publish = async (channel, ...all) => {
  for (const value of all) await push({ channel }, value);
};

/** Cuts the connection under the client, and has things published before it is back. */
async function whileAway(act) {
  const before = connected.items.length;
  client.disconnect();
  sockets.at(-1).terminate();
  await act();
  client.connect();
  await connected.count(before + 1);
}

/** How a subscription has come back. */
const came = ({ wasRecovering, recovered }) => [wasRecovering, recovered];

// A cut connection, noticed by the client itself.
const news = await subscribe(client, 'news');
assert.deepEqual(came(news.subscribed.items[0]), [false, false]);
await publish('news', 'first');
await news.publications.count(1);
sockets.at(-1).terminate();
await connecting.count(2);
await publish('news', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
await news.publications.count(11);
assert.deepEqual(came(await news.subscribed.count(2)), [true, true]);
assert.deepEqual(values(news.publications), ['first', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
assert.deepEqual(news.publications.items.map(({ offset }) => offset), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);

// Unsubscribed for a while.
news.subscription.unsubscribe();
await publish('news', 'while unsubscribed');
news.subscription.subscribe();
await news.publications.count(12);
assert.deepEqual(came(await news.subscribed.count(3)), [true, true]);

// Away, and nothing was missed.
await whileAway(async () => {});
assert.deepEqual(came(await news.subscribed.count(4)), [true, true]);
await publish('news', 'live');
assert.equal(decode((await news.publications.count(13)).data), 'live');

// More was published than is kept: told once, and then live.
const short = await subscribe(client, 'short:1');
await publish('short:1', 0);
await short.publications.count(1);
await whileAway(() => publish('short:1', 1, 2, 3, 4));
assert.deepEqual(came(await short.subscribed.count(2)), [true, false]);
assert.equal(short.subscribed.items[1].streamPosition.offset, 5);
await publish('short:1', 5);
await short.publications.count(2);
assert.deepEqual(values(short.publications), [0, 5]);

// A cache: the last publication holds everything.
await publish('cache:1', 'old', 'new');
const cache = await subscribe(client, 'cache:1');
await cache.publications.count(1);
await whileAway(() => publish('cache:1', 'newer', 'newest'));
await cache.publications.count(2);
assert.deepEqual(came(await cache.subscribed.count(2)), [true, true]);
assert.deepEqual(values(cache.publications), ['new', 'newest']);

// Positioned only: the position is told, and nothing is recovered.
const watched = await subscribe(client, 'watched:1');
const { positioned, recoverable } = watched.subscribed.items[0];
assert.deepEqual([positioned, recoverable], [true, false]);

// From a position that an application has kept: `since`, and all or an error that makes it load its state anew.
const { streamPosition } = news.subscribed.items[0];
const other = await connect();
const since = await subscribe(other.client, 'news', { since: { ...streamPosition, offset: 11 } });
await since.publications.count(2);
assert.deepEqual(values(since.publications), ['while unsubscribed', 'live']);
let states = 0;
const getState = async () => {
  states += 1;
  return states === 1 ? { offset: 1, epoch: 'gone' } : { ...streamPosition, offset: 12 };
};
const third = await connect();
const stateful = await subscribe(third.client, 'news', { getState });
await stateful.publications.count(1);
assert.deepEqual([states, values(stateful.publications)], [2, ['live']]);

// The history itself.
const texts = async (options) => {
  const { publications, offset } = await news.subscription.history(options);
  assert.equal(offset, 13);
  return publications.map(({ data }) => decode(data));
};
assert.deepEqual(await texts({}), []);
assert.deepEqual(await texts({ limit: 2 }), ['first', 1]);
assert.deepEqual(await texts({ limit: 2, reverse: true }), ['live', 'while unsubscribed']);
assert.deepEqual(await texts({ limit: 2, since: { ...streamPosition, offset: 3 } }), [3, 4]);
assert.deepEqual(await texts({ limit: 9, since: { ...streamPosition, offset: 3 }, reverse: true }), [1, 'first']);
await assert.rejects(news.subscription.history({ limit: 1, since: { offset: 1, epoch: 'gone' } }), { code: 112 });
await assert.rejects(short.subscription.history({ limit: 1, since: { offset: 1, epoch: '' } }), { code: 112 });

// Only publications with certain tags, live and recovered.
const tagsFilter = { key: 'ticker', cmp: 'eq', val: 'GOOG' };
const tagged = (value, ticker) => push({ channel: 'news' }, value, { message: { tags: { ticker } } });
const filtered = await subscribe(other.client, 'filtered:1', { tagsFilter });
const quote = (value, ticker) => push({ channel: 'filtered:1' }, value, { message: { tags: { ticker } } });
await quote('no', 'AAPL');
await quote('yes', 'GOOG');
await filtered.publications.count(1);
other.client.disconnect();
await quote('no', 'AAPL');
await quote('missed', 'GOOG');
other.client.connect();
await filtered.publications.count(2);
assert.deepEqual(values(filtered.publications), ['yes', 'missed']);
await tagged('unfiltered', 'AAPL');
const refused = new Record(other.client.newSubscription('news2', { tagsFilter }), 'unsubscribed');
other.client.getSubscription('news2').subscribe();
assert.equal((await refused.count(1)).code, 107);
leave();
