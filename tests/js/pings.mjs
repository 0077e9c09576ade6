// Pings: a client that answers them stays, and one whose answers are lost is told so, then comes back.
import assert from 'node:assert/strict';
import WebSocket from 'ws';
import { connect, leave, subscribe } from './lib.mjs';

/** Loses pongs: an empty object in JSON, one byte in Protobuf. */
class Mute extends WebSocket {
  send(data, ...more) {
    if (data !== '{}' && data.length !== 1) super.send(data, ...more);
  }
}

// The publication comes when the server has had enough pongs.
const { client, connecting, connected } = await connect();
const { publications } = await subscribe(client, 'enough');
await publications.count(1);
assert.equal(client.state, 'connected');
assert.deepEqual([connecting.items.length, connected.items.length], [1, 1]);

const mute = await connect({ websocket: Mute });
const { code, reason } = await mute.connecting.count(2);
assert.deepEqual([code, reason], [3012, 'no pong']);
await mute.connected.count(2);
assert.equal(connecting.items.length, 1);
leave();
