// Presence: who is in a channel, and who comes and goes, oneself included.
import assert from 'node:assert/strict';
import { Record, connect, leave, token } from './lib.mjs';

const user = (sub, info) => connect({ token: token({ sub, info }) });
const ann = await user('ann', { name: 'Ann' });
const room = ann.client.newSubscription('room');
const [joins, leaves] = [new Record(room, 'join'), new Record(room, 'leave')];
room.subscribe();
const own = await joins.count(1);
assert.deepEqual([own.info.user, own.info.client], ['ann', ann.id], 'the own join is told, too');

const bob = await user('bob');
const bobs = bob.client.newSubscription('room');
bobs.subscribe();
const { info } = await joins.count(2);
assert.deepEqual([info.user, info.client], ['bob', bob.id]);
const second = await user('bob');
const seconds = second.client.newSubscription('room');
seconds.subscribe();
await joins.count(3);

const { clients } = await room.presence();
assert.deepEqual(Object.keys(clients).sort(), [ann.id, bob.id, second.id].sort());
assert.equal(clients[bob.id].user, 'bob');
const named = clients[ann.id].connInfo;
assert.deepEqual(named instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(named)) : named, { name: 'Ann' });
assert.deepEqual(await room.presenceStats(), { numClients: 3, numUsers: 2 });

bobs.unsubscribe();
assert.equal((await leaves.count(1)).info.client, bob.id);
second.client.disconnect();
assert.equal((await leaves.count(2)).info.client, second.id);
assert.deepEqual(await room.presenceStats(), { numClients: 1, numUsers: 1 });

// Who only asks for joins and leaves gets them where not all are told.
const asked = ann.client.newSubscription('asked:1', { joinLeave: true });
const askedJoins = new Record(asked, 'join');
asked.subscribe();
await askedJoins.count(1);
const unasked = bob.client.newSubscription('asked:1');
const unaskedJoins = new Record(unasked, 'join');
unasked.subscribe();
assert.equal((await askedJoins.count(2)).info.user, 'bob');
assert.deepEqual(unaskedJoins.items, []);

// Presence is off, or not for everybody.
const off = ann.client.newSubscription('off:1');
off.subscribe();
await assert.rejects(off.presence(), { code: 108 });
await assert.rejects(ann.client.presence('hidden:1'), { code: 103 });
leave();
