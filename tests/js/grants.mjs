// What tokens grant: subscriptions that the server makes, and channels that need a token of their own, which is renewed.
import assert from 'node:assert/strict';
import { Record, connect, decode, encode, inSeconds, leave, push, roundTrip, subscribe, token, within } from './lib.mjs';

// The server subscribes the client, and tells it so with what the token says of each channel.
const subs = { room: { info: { role: 'host' }, data: { topic: 'jazz' } } };
const ann = await connect({ token: token({ sub: '42', exp: inSeconds(3600), channels: ['news'], subs }) });
await ann.subscribed.count(3);
const made = Object.fromEntries(ann.subscribed.items.map(({ channel, data }) => [channel, data]));
assert.deepEqual(Object.keys(made).sort(), ['#42', 'news', 'room']);
assert.deepEqual(decode(made.room), { topic: 'jazz' });
assert.equal((await push({ channel: 'news' }, 'hello')).written, 1);
const { channel, data } = await ann.publication.count(1);
assert.deepEqual([channel, decode(data)], ['news', 'hello']);

// Others see what the token says of it in this channel.
const bob = await connect({ token: token({ sub: '43' }) });
const room = await subscribe(bob.client, 'room');
await ann.client.publish('room', encode('hi'));
assert.deepEqual(decode((await room.publications.count(1)).info.chanInfo), { role: 'host' });

// A channel that needs a token cannot be had without one.
const refused = bob.client.newSubscription('$jam');
const unsubscribed = new Record(refused, 'unsubscribed');
refused.subscribe();
assert.equal((await unsubscribed.count(1)).code, 103);

// The first token has expired, so the SDK asks for another; that one ends soon and is replaced by the third.
const asked = [];
let askedAgain;
const renewal = new Promise((resolve) => { askedAgain = resolve; });
const getToken = async ({ channel: wanted }) => {
  asked.push(wanted);
  if (asked.length === 3) askedAgain();
  const exp = inSeconds([-10, 2, 3600][asked.length - 1]);
  return token({ sub: '42', channel: wanted, exp, info: { seat: 7 } });
};
const jam = await subscribe(ann.client, '$jam', { getToken });
await within('the SDK asks for a third token', renewal);
await roundTrip(ann.client); // meanwhile the SDK sends the token
await roundTrip(ann.client);
assert.deepEqual(asked, ['$jam', '$jam', '$jam']);
assert.equal((await push({ channel: '$jam' }, 'still here')).written, 1);
assert.equal(decode((await jam.publications.count(1)).data), 'still here');
assert.equal(jam.subscribed.items.length, 1);

// With its own token the subscriber may do what the token says, and others see what it says.
await ann.client.publish('$jam', encode('solo'));
const { info } = await jam.publications.count(2);
assert.deepEqual([info.user, decode(info.chanInfo)], ['42', { seat: 7 }]);
assert.deepEqual([ann.connected.items.length, ann.disconnected.items.length], [1, 0]);
leave();
