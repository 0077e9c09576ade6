// The client of docs/second-page.md, exactly as it stands there: what it says when it was away.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Record, leave, push, websocketUrl } from './lib.mjs';

const document = await readFile(new URL('../../docs/second-page.md', import.meta.url), 'utf8');
const [, program] = document.match(/\n```js away\.mjs\n(.*?)\n```\n/s);
// The modules are found from the folder in which it runs.
const client = spawn('node', ['--input-type=module', '--eval', program], {
  cwd: new URL('.', import.meta.url),
  env: { ...process.env, FANFARE_URL: websocketUrl },
  stdio: ['pipe', 'pipe', 'inherit'],
});
process.on('exit', () => client.kill()); // whatever fails
const said = new Record(createInterface(client.stdout), 'line');
const pressEnter = () => client.stdin.write('\n');
const messages = async (first, last) => {
  for (let n = first; n <= last; n += 1) await push({ channel: 'news' }, { n });
};
const line = (offset, n) => `${offset} {"n":${n}}`;

await said.count(3);
assert.equal(said.items[1], 'subscribed');
assert.match(said.items[2], /^joined: anonymous [0-9a-f-]{36}$/);

pressEnter();
assert.equal(await said.count(4), 'disconnected: disconnect called');
await messages(1, 10);
pressEnter();
await said.count(17);
assert.equal(said.items[5], 'subscribed: all that was missed comes now');
assert.deepEqual(said.items.slice(6, 16), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((n) => line(n, n)));
assert.match(said.items[16], /^joined: /);

pressEnter();
await said.count(18);
await messages(11, 311); // too many for one recovery, whatever the history keeps
pressEnter();
assert.equal(await said.count(20), 'subscribed: something may be missing, load the state from the backend');
client.kill();
leave();
