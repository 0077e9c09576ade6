// Channels: who receives what, in which order, and what is refused.
import assert from 'node:assert/strict';
import { Record, connect, decode, encode, encoding, leave, push, roundTrip, subscribe } from './lib.mjs';

const MANY = 100;
const channel = { channel: 'news' };
const values = (publications) => publications.items.map(({ data }) => decode(data));

const alice = await connect();
const bob = await connect();
const news = await subscribe(alice.client, 'news');

// A push arrives with its tags, and with nothing that only clients' publications have.
const first = await push(channel, { hello: 'wörld' }, { message: { tags: { lang: 'en' } } });
assert.deepEqual([first.written, first.complete, first.user_offline], [1, true, false]);
const publication = await news.publications.count(1);
assert.deepEqual(decode(publication.data), { hello: 'wörld' });
assert.deepEqual(publication.tags, { lang: 'en' });
assert.equal(publication.info, undefined);

// Pushes keep their order.
for (let number = 0; number < MANY; number += 1) {
  await push(channel, number, { wait_for: 'WAIT_FOR_ACCEPTED' });
}
await news.publications.count(1 + MANY);
assert.deepEqual(values(news.publications).slice(1), [...Array(MANY).keys()]);

// What a client publishes reaches itself and others, and says who published it.
const sameNews = await subscribe(bob.client, 'news');
await alice.client.publish('news', encode({ from: 'alice' }));
for (const [publications, before] of [[news.publications, 1 + MANY], [sameNews.publications, 0]]) {
  const { data, info } = await publications.count(before + 1);
  assert.deepEqual(decode(data), { from: 'alice' });
  assert.deepEqual([info.client, info.user], [alice.id, '']);
}

// A subscription publishes as well.
await sameNews.subscription.publish(encode([1, 2, 3]));
assert.equal((await news.publications.count(1 + MANY + 2)).info.client, bob.id);

// The SDK holds one subscription per channel, and a new one can take its place.
assert.throws(() => alice.client.newSubscription('news'), /already exists/);
news.subscription.unsubscribe();
await roundTrip(alice.client);
const received = news.publications.items.length;
assert.equal((await push(channel, 'for bob alone')).written, 1);
await roundTrip(alice.client);
assert.equal(news.publications.items.length, received, 'nothing arrives after unsubscribe');
alice.client.removeSubscription(news.subscription);
const again = await subscribe(alice.client, 'news');
assert.equal((await push(channel, 'for both')).written, 2);
assert.equal(decode((await again.publications.count(1)).data), 'for both');

// What is not to be had is answered with the code that says so, and the connection goes on.
const refusals = [
  [108, () => alice.client.rpc('method', encode({}))],
  [108, () => again.subscription.presence()],
  [108, () => again.subscription.presenceStats()],
  [108, () => again.subscription.history({ limit: 10 })],
  [107, () => alice.client.publish('news')],
  [103, () => alice.client.publish('#42', encode(1))],
];
if (encoding === 'protobuf') {
  refusals.push([107, () => alice.client.publish('news', new TextEncoder().encode('not JSON'))]);
}
for (const [code, request] of refusals) {
  await assert.rejects(request(), (error) => error.code === code || assert.fail(`${request}: ${JSON.stringify(error)}`));
}

// A subscription that is not allowed ends, with the code.
for (const [name, code] of [['$private', 103], ['#42', 103], ['x'.repeat(256), 107]]) {
  const refused = alice.client.newSubscription(name);
  const unsubscribed = new Record(refused, 'unsubscribed');
  refused.subscribe();
  assert.equal((await unsubscribed.count(1)).code, code, name);
  assert.equal(refused.state, 'unsubscribed');
}

await roundTrip(alice.client);
assert.equal(alice.connected.items.length, 1);
leave();
