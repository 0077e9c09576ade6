// Server-side subscriptions: those of a token and the user's own channel recover by themselves, a backend's come back.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { Record, api, connect, decode, leave, push, token } from './lib.mjs';
import { connectionService } from './push_api.mjs';

const sockets = [];
class Kept extends WebSocket {
  constructor(...address) {
    super(...address);
    sockets.push(this);
  }
}

const claims = { sub: 'ann', channels: ['news'] };
const { client, connecting, connected, publication, subscribed } = await connect({ token: token(claims), websocket: Kept });
await subscribed.count(2);
const named = () => Object.fromEntries(subscribed.items.map(({ channel, ...context }) => [channel, context]));
assert.deepEqual(Object.keys(named()).sort(), ['#ann', 'news']);
assert.deepEqual([named()['#ann'].recoverable, named().news.recoverable], [true, true]);

await push({ user: 'ann' }, 'first');
await push({ channel: 'news' }, 'headline');
await publication.count(2);

// A push to a user that is just away arrives when it is back.
sockets.at(-1).terminate();
await connecting.count(2);
const { user_offline: offline } = await push({ user: 'ann' }, 'while away');
await push({ channel: 'news' }, 'late headline');
await connected.count(2);
await publication.count(4);
const got = publication.items.map(({ channel, data, offset }) => [channel, decode(data), offset]);
assert.deepEqual(got.slice(0, 2).sort(), [['#ann', 'first', 1], ['news', 'headline', 1]]);
assert.deepEqual(got.slice(2).sort(), [['#ann', 'while away', 2], ['news', 'late headline', 2]]);
await subscribed.count(4);
assert.ok(subscribed.items.slice(2).every(({ wasRecovering, recovered }) => wasRecovering && recovered));
assert.equal(typeof offline, 'boolean');

// What a backend subscribes a user to belongs to the user, and comes back with it.
const service = connectionService(api);
await service.subscribe({ subject: { user: 'ann' }, channel: 'offers' });
assert.equal((await subscribed.count(5)).channel, 'offers');
sockets.at(-1).terminate();
await connected.count(3);
const offers = new Record(client, 'publication');
await subscribed.count(8);
assert.ok(subscribed.items.slice(5).some(({ channel }) => channel === 'offers'));
await push({ channel: 'offers' }, 'an offer');
assert.equal(decode((await offers.count(1)).data), 'an offer');
const unsubscribed = new Record(client, 'unsubscribed');
await service.unsubscribe({ subject: { user: 'ann' }, channel: 'offers' });
assert.equal((await unsubscribed.count(1)).channel, 'offers');
service.close();
leave();
