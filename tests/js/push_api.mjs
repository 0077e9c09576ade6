// The public API as a gRPC client made from the published `.proto` file.
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const FORMAT = { keepCase: true, longs: Number, enums: String, defaults: true };
const PROTO = fileURLToPath(new URL('../../proto', import.meta.url));
const PATIENCE = 20_000;

const FILES = ['fanfare/v1/push.proto', 'fanfare/v1/connections.proto'];
const loaded = protoLoader.loadSync(FILES, { ...FORMAT, includeDirs: [PROTO] });
const { fanfare } = grpc.loadPackageDefinition(loaded);

const google = protoLoader.fromJSON(googleTypes(), FORMAT);
const { grpc: published } = grpc.loadPackageDefinition(google);

/** `fanfare.v1.PushService`. */
export const pushService = (address) => promised(fanfare.v1.PushService, address);

/** `fanfare.v1.ConnectionService`. */
export const connectionService = (address) => promised(fanfare.v1.ConnectionService, address);

/** `grpc.health.v1.Health`. */
export const healthService = (address) => promised(published.health.v1.Health, address);

/** The details of an error, by the names of their types in `google.rpc`. */
export function errorDetails(error) {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const status = google['google.rpc.Status'].deserialize(bytes);
  assert.equal(status.code, error.code);
  const named = status.details.map(({ type_url: url, value }) => {
    const name = url.replace('type.googleapis.com/', '');
    return [name.replace('google.rpc.', ''), google[name].deserialize(value)];
  });
  return Object.fromEntries(named);
}

/** Its methods return promises; a call takes `deadline` milliseconds at most. */
function promised(Client, address) {
  const client = new Client(address, grpc.credentials.createInsecure(), { 'grpc.enable_http_proxy': 0 });
  const call = (method) => (request, { deadline = PATIENCE } = {}) => new Promise((resolve, reject) => {
    const answered = (error, answer) => (error ? reject(error) : resolve(answer));
    client[method](request, { deadline: Date.now() + deadline }, answered);
  });
  const methods = Object.keys(Client.service).map((name) => [name.toLowerCase(), call(name)]);
  return { ...Object.fromEntries(methods), close: () => client.close() };
}

/** The parts that are used of Google's published types. */
function googleTypes() {
  const type = (fields) => ({ fields });
  const rpc = {
    Any: type({ type_url: { type: 'string', id: 1 }, value: { type: 'bytes', id: 2 } }),
    Status: type({ code: { type: 'int32', id: 1 }, details: { rule: 'repeated', type: 'Any', id: 3 } }),
    ErrorInfo: type({ reason: { type: 'string', id: 1 }, domain: { type: 'string', id: 2 } }),
    FieldViolation: type({ field: { type: 'string', id: 1 }, description: { type: 'string', id: 2 } }),
    BadRequest: type({ field_violations: { rule: 'repeated', type: 'FieldViolation', id: 1 } }),
  };
  const health = {
    Status: { values: { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } },
    HealthCheckRequest: type({ service: { type: 'string', id: 1 } }),
    HealthCheckResponse: type({ status: { type: 'Status', id: 1 } }),
    Health: { methods: { Check: { requestType: 'HealthCheckRequest', responseType: 'HealthCheckResponse' } } },
  };
  const inPackage = (path, nested) => path.reduceRight((inner, name) => ({ [name]: { nested: inner } }), nested);
  return { nested: { ...inPackage(['google', 'rpc'], rpc), ...inPackage(['grpc', 'health', 'v1'], health) } };
}
