// Tokens: a user's connections receive what is pushed to the user, and bad tokens get the answer they deserve.
import assert from 'node:assert/strict';
import { connect, decode, encode, inSeconds, leave, open, push, roundTrip, subscribe, token, within } from './lib.mjs';

// The personal channel is there from the start, and holds what is pushed to the user.
const ann = await connect({ token: token({ sub: '42', exp: inSeconds(3600), info: { name: 'Ann' } }) });
assert.equal((await ann.subscribed.count(1)).channel, '#42');
const phone = await connect({ token: token({ sub: '42' }) });
const other = await connect({ token: token({ sub: '43' }) });
const nobody = await connect();

const receipt = await push({ user: '42' }, { mail: 1 });
assert.deepEqual([receipt.written, receipt.user_offline], [2, false]);
for (const device of [ann, phone]) {
  const { channel, data } = await device.publication.count(1);
  assert.deepEqual([channel, decode(data)], ['#42', { mail: 1 }]);
}
for (const stranger of [other, nobody]) {
  await roundTrip(stranger.client);
  assert.equal(stranger.publication.items.length, 0);
}
const offline = await push({ user: 'nobody' }, 1);
assert.deepEqual([offline.written, offline.user_offline, offline.complete], [0, true, true]);

// Others see who published, with what the token says of the user.
const news = await subscribe(other.client, 'news');
await ann.client.publish('news', encode('hello'));
const { info } = await news.publications.count(1);
assert.deepEqual([info.user, info.client, decode(info.connInfo)], ['42', ann.id, { name: 'Ann' }]);

// An expired token is answered so that the SDK gets a fresh one.
let asked = 0;
let askedAgain;
const refresh = new Promise((resolve) => { askedAgain = resolve; });
const getToken = async () => {
  asked += 1;
  if (asked === 2) askedAgain();
  return token({ sub: '44', exp: inSeconds(asked === 1 ? 2 : 3600) });
};
const late = await connect({ token: token({ sub: '44', exp: inSeconds(-10) }), getToken });
assert.equal(asked, 1);
assert.equal(late.disconnected.items.length, 0);

// An invalid token ends the connection for good.
for (const invalid of [token({ sub: '42' }, 'another secret'), 'not.a.token', token({ sub: '42', channels: ['#43'] })]) {
  const refused = open({ token: invalid });
  assert.equal((await refused.disconnected.count(1)).code, 3500);
  assert.equal(refused.client.state, 'disconnected');
  assert.deepEqual([refused.connecting.items.length, refused.connected.items.length], [1, 0]);
}

// A token that is about to expire is replaced without a new connection.
await within('the SDK asks for a second token', refresh);
await roundTrip(late.client); // meanwhile the SDK sends the token
await roundTrip(late.client);
assert.equal((await push({ user: '44' }, 'still here')).written, 1);
assert.equal(decode((await late.publication.count(1)).data), 'still here');
assert.equal(late.connected.items.length, 1);
leave();
