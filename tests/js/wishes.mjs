// Wishes: a subscription that asks for recovery, positions and joins works in a channel that has none of them.
import assert from 'node:assert/strict';
import { Record, connect, decode, leave, push, subscribe } from './lib.mjs';

const { client, connecting, connected } = await connect();
const wishes = { recoverable: true, positioned: true, joinLeave: true, delta: 'fossil' };
const { subscription, subscribed, publications } = await subscribe(client, 'news', wishes);
const joins = new Record(subscription, 'join');

const granted = ({ recoverable, positioned, wasRecovering, recovered, streamPosition }) =>
  [recoverable, positioned, wasRecovering, recovered, streamPosition];
assert.deepEqual(granted(subscribed.items[0]), [false, false, false, false, undefined]);
await push({ channel: 'news' }, { step: 1 });
assert.deepEqual(decode((await publications.count(1)).data), { step: 1 });

// A subscription that says where it was is served from now on, and told that nothing was recovered.
const since = await subscribe(client, 'since', { ...wishes, since: { offset: 7, epoch: 'gone' } });
const [recoverable, , , recovered] = granted(since.subscribed.items[0]);
assert.deepEqual([recoverable, recovered], [false, false]);
await push({ channel: 'since' }, { step: 2 });
assert.deepEqual(decode((await since.publications.count(1)).data), { step: 2 });

assert.equal(joins.items.length, 0);
assert.deepEqual([connecting.items.length, connected.items.length], [1, 1]);
leave();
