// Restart: the client is told that the server goes, comes back by itself and has its subscription again.
import assert from 'node:assert/strict';
import { connect, decode, leave, subscribe } from './lib.mjs';

const { client, connecting, connected } = await connect();
const { subscribed, publications } = await subscribe(client, 'news');
assert.equal(decode((await publications.count(1)).data), 'before');

const { code, reason } = await connecting.count(2);
assert.deepEqual([code, reason], [3001, 'shutdown']);
await connected.count(2);
await subscribed.count(2);
assert.equal(decode((await publications.count(2)).data), 'after');
assert.notEqual(connected.items[0].client, connected.items[1].client);
leave();
