// A web page on another port of this machine that has the SDK's own bundle.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { isBinary } from './lib.mjs';

const PAGE = '<!doctype html><title>A page elsewhere</title><link rel="icon" href="data:,"><script src="/bundle.js"></script>';

/** Serves the page, until it is closed. */
export async function serveElsewhere() {
  const file = isBinary ? 'centrifuge.protobuf.js' : 'centrifuge.js';
  const bundle = await readFile(new URL(`node_modules/centrifuge/dist/${file}`, import.meta.url));
  const server = createServer((request, response) => {
    const isScript = request.url === '/bundle.js';
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? bundle : PAGE);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { host: `localhost:${server.address().port}`, close: () => server.close() };
}
