// What the scenarios share: how to connect and push, what happened so far, and waits that have a deadline.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { Centrifuge as JsonCentrifuge } from 'centrifuge';
import { Centrifuge as ProtobufCentrifuge } from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import { pushService } from './push_api.mjs';

/** Milliseconds that anything may take on a slow and busy machine. */
export const PATIENCE = 20_000;

/** Where clients connect, where the public API is, and the encoding: `json` or `protobuf`. */
export const [clients, api, encoding] = process.argv.slice(2);
const scheme = process.env.FANFARE_AUTHORITY ? 'wss' : 'ws';
export const websocketUrl = `${scheme}://${clients}/connection/websocket`;

export const isBinary = encoding === 'protobuf';
const Centrifuge = isBinary ? ProtobufCentrifuge : JsonCentrifuge;
const opened = [];
const service = pushService(api);

/** Resolves as the promise does, or fails with the name of what did not happen. */
export async function within(what, promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain: ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** All that an emitter has emitted under one name since the record began. */
export class Record {
  items = [];
  #event;
  #waiting = [];

  constructor(emitter, event) {
    this.#event = event;
    emitter.on(event, (context) => {
      this.items.push(context);
      this.#waiting = this.#waiting.filter((isDone) => !isDone());
    });
  }

  /** Waits until `count` have happened, and returns the last of them. */
  async count(count) {
    await within(`${count} times '${this.#event}'`, new Promise((resolve) => {
      const isDone = () => this.items.length >= count && (resolve(), true);
      if (!isDone()) this.#waiting.push(isDone);
    }));
    return this.items[count - 1];
  }
}

/** A client that is about to connect, with records of what happens to it. */
export function open(options = {}) {
  const quick = { minReconnectDelay: 50, maxReconnectDelay: 500, timeout: PATIENCE };
  const client = new Centrifuge(websocketUrl, { websocket: WebSocket, ...quick, ...options });
  const records = ['connecting', 'connected', 'disconnected', 'message', 'subscribed', 'publication'];
  const happened = Object.fromEntries(records.map((event) => [event, new Record(client, event)]));
  opened.push(client);
  client.connect();
  return { client, ...happened };
}

/** A client that is connected, and its id. */
export async function connect(options = {}) {
  const opened = open(options);
  const { client: id } = await opened.connected.count(1);
  return { ...opened, id };
}

/** A live subscription, with a record of its publications. */
export async function subscribe(client, channel, options = {}) {
  const subscription = client.newSubscription(channel, options);
  const subscribed = new Record(subscription, 'subscribed');
  const publications = new Record(subscription, 'publication');
  subscription.subscribe();
  await subscribed.count(1);
  return { subscription, subscribed, publications };
}

/** After this, the server has taken all that the client sent before, and the client all that was sent to it. */
export async function roundTrip(client) {
  await assert.rejects(client.rpc('nothing', encode(null)), { code: 108 });
}

/** A value as the SDK wants it for this encoding. */
export const encode = (value) => (isBinary ? new TextEncoder().encode(JSON.stringify(value)) : value);

/** A value as the SDK gives it. */
export const decode = (data) => (isBinary ? JSON.parse(new TextDecoder().decode(data)) : data);

/** Pushes a value, waits until it is written, and returns the receipt. */
export async function push(target, value, { message = {}, ...request } = {}) {
  const json = JSON.stringify(value);
  const { receipt } = await service.publish({ target, message: { json, ...message }, wait_for: 'WAIT_FOR_WRITTEN', ...request });
  return receipt;
}

/** A token with these claims, signed with the secret of `serve --dev` unless another is given. */
export function token(claims, secret = 'fanfare-dev') {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Now, as tokens count it, and some seconds. */
export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** Ends everything that keeps the process alive. */
export function leave() {
  for (const client of opened) client.disconnect();
  service.close();
}
