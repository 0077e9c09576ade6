// The public API as a foreign gRPC client sees it: receipts, error details, health and deadlines.
import assert from 'node:assert/strict';
import grpc from '@grpc/grpc-js';
import WebSocket from 'ws';
import { Record, api, connect, leave, subscribe, websocketUrl } from './lib.mjs';
import { errorDetails, healthService, pushService } from './push_api.mjs';

const service = pushService(api);
const refusal = (request) => service.publish(request).then((answer) => assert.fail(JSON.stringify(answer)), (error) => error);

// A receipt counts the connections that the message was written to.
const message = { json: '{"a": 1}' };
for (const name of ['one', 'two', 'three']) await subscribe((await connect({ name })).client, 'news');
const { receipt, position, duplicate } = await service.publish({ target: { channel: 'news' }, message, wait_for: 'WAIT_FOR_WRITTEN' });
const { written, pending, cut, complete, nodes_asked: asked, gaps } = receipt;
assert.deepEqual({ written, pending, cut, complete, asked, gaps }, { written: 3, pending: 0, cut: 0, complete: true, asked: 1, gaps: [] });
assert.deepEqual([position.offset, position.epoch.length > 0, duplicate], [1, true, false]);
const accepted = await service.publish({ target: { channel: 'news' }, message });
assert.equal(accepted.receipt.written, 0, 'nothing is counted without the wait');

// Errors carry details that programs can read.
const wrong = [
  [{ message }, 'target'],
  [{ target: { channel: '#42' }, message }, 'target.channel'],
  [{ target: { user: '' }, message }, 'target.user'],
  [{ target: { connection: 'nonsense' }, message }, 'target.connection'],
  [{ target: { channel: 'news' } }, 'message.payload'],
  [{ target: { channel: 'news' }, message: { json: '{' } }, 'message.payload'],
];
for (const [request, field] of wrong) {
  const error = await refusal(request);
  assert.equal(error.code, grpc.status.INVALID_ARGUMENT, JSON.stringify(request));
  const { BadRequest, ErrorInfo } = errorDetails(error);
  assert.deepEqual([ErrorInfo.reason, ErrorInfo.domain], ['INVALID_FIELD', 'fanfare.v1']);
  assert.equal(BadRequest.field_violations[0].field, field);
  assert.ok(BadRequest.field_violations[0].description.length > 0);
}
const once = { target: { channel: 'once' }, message, idempotency_key: 'k' };
const first = await service.publish(once);
const repeated = await service.publish(once);
assert.deepEqual([first.duplicate, repeated.duplicate], [false, true]);
assert.deepEqual(repeated.position, first.position);

// A client that does not read is pending in a receipt that comes before the call's deadline.
const DEADLINE = 500;
const deaf = new WebSocket(websocketUrl);
const answers = new Record(deaf, 'message');
await new Record(deaf, 'open').count(1);
deaf.send('{"id":1,"connect":{}}');
await answers.count(1);
deaf.send('{"id":2,"subscribe":{"channel":"deaf"}}');
assert.match(String(await answers.count(2)), /"subscribe"/);
deaf.pause();
const large = { target: { channel: 'deaf' }, message: { json: JSON.stringify('x'.repeat(200_000)) }, wait_for: 'WAIT_FOR_WRITTEN' };
let last;
do {
  last = (await service.publish(large, { deadline: DEADLINE })).receipt;
  assert.equal(last.written + last.pending, 1, JSON.stringify(last));
} while (last.written === 1);
assert.deepEqual([last.pending, last.cut], [1, 0]);
deaf.terminate();

// Health says that the whole and the service serve.
const health = healthService(api);
for (const name of ['', 'fanfare.v1.PushService']) {
  assert.equal((await health.check({ service: name })).status, 'SERVING', name);
}
await assert.rejects(health.check({ service: 'unknown.Service' }), { code: grpc.status.NOT_FOUND });

health.close();
service.close();
leave();
