// Restart: the client is told that the server goes, comes back by itself, has its subscription again, and learns that
// the stream is another.
import assert from 'node:assert/strict';
import { connect, decode, leave, subscribe } from './lib.mjs';

const { client, connecting, connected } = await connect();
const { subscribed, publications } = await subscribe(client, 'news');
assert.equal(decode((await publications.count(1)).data), 'before');

const { code, reason } = await connecting.count(2);
assert.deepEqual([code, reason], [3001, 'shutdown']);
await connected.count(2);
// Memory is gone with the server, so nobody knows what the client has missed: it is told.
const { wasRecovering, recovered, streamPosition } = await subscribed.count(2);
assert.deepEqual([wasRecovering, recovered], [true, false]);
assert.notEqual(streamPosition.epoch, subscribed.items[0].streamPosition.epoch);
assert.equal(decode((await publications.count(2)).data), 'after');
assert.notEqual(connected.items[0].client, connected.items[1].client);
leave();
