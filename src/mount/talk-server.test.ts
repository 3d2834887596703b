import assert from 'node:assert/strict';
import { existsSync, lstatSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import { talk } from './talk-client.ts';
import { type Answerer, TalkServer } from './talk-server.ts';

const TIMEOUT_MS = 10_000;
const echo: Answerer = async (command) => `${JSON.stringify(command)}\n`;

async function start(t: TestContext, answer: Answerer, paths?: readonly string[]) {
  const folder = scratchFolder(t);
  const warnings: string[] = [];
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) };
  const places = paths ?? [join(folder, 'talk.sock')];
  const server = await TalkServer.start(places, answer, log);
  t.after(() => server.close());
  return { folder, server, warnings, path: places[0]! };
}

for (const [what, sent] of [
  ['nothing behind it', 'cache size'],
  ['a zero behind it', 'cache size\0'],
  ['the end of a line behind it', 'cache size\r\n'],
] as const) {
  test(`a command with ${what} is answered, and the connection ends`, async (t) => {
    const { path } = await start(t, echo);
    assert.equal(await talk(path, sent, TIMEOUT_MS), '"cache size"\n');
  });
}

test('paths may have any letters, and answers any length', async (t) => {
  const { path } = await start(t, async (command) => command.repeat(100_000));
  assert.equal(await talk(path, 'pin /ü', TIMEOUT_MS), 'pin /ü'.repeat(100_000));
});

test('what goes wrong is told, and the next one is answered', async (t) => {
  const { path } = await start(t, async (command) => {
    if (command === 'pin') throw new ThimbleError('STORAGE', 'Cannot pin: the disk is full');
    return 'OK\n';
  });
  assert.equal(await talk(path, 'pin', TIMEOUT_MS), 'Failed: Cannot pin: the disk is full\n');
  assert.equal(await talk(path, 'pid', TIMEOUT_MS), 'OK\n');
});

test('whoever says nothing, or goes without waiting, is in nobody’s way', async (t) => {
  const { path } = await start(t, echo);
  const silent = connect(path);
  t.after(() => silent.destroy());
  const hasty = connect(path, () => hasty.end('pid'));
  hasty.resume();
  assert.equal(await talk(path, 'pid', TIMEOUT_MS), '"pid"\n');
});

test('it listens on all places that can be had, and makes their folders', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(join(folder, 'file'), '');
  const paths = [
    join(folder, 'a/b/one'),
    join(folder, 'file/two'),
    join(folder, 'x'.repeat(120)),
    join(folder, 'last'),
  ];
  const { server, warnings } = await start(t, echo, paths);
  for (const path of [paths[0]!, paths[3]!]) assert.equal(await talk(path, 'pid', TIMEOUT_MS), '"pid"\n');
  assert.equal(lstatSync(paths[0]!).mode & 0o777, 0o660);
  assert.deepEqual(warnings, ['no talk socket', 'no talk socket']);
  server.close();
  assert.deepEqual([existsSync(paths[0]!), existsSync(paths[3]!)], [false, false]);
});

test('where another client listens it is left alone; what a dead one left is taken', async (t) => {
  const first = await start(t, async () => 'first\n');
  const second = await start(t, async () => 'second\n', [first.path]);
  assert.deepEqual(second.warnings, ['no talk socket: another client listens there']);
  assert.equal(await talk(first.path, 'pid', TIMEOUT_MS), 'first\n');
  second.server.close();
  assert.equal(await talk(first.path, 'pid', TIMEOUT_MS), 'first\n', 'it is not the second one’s to remove');
  first.server.close();
  writeFileSync(first.path, '');
  await start(t, async () => 'third\n', [first.path]);
  assert.equal(await talk(first.path, 'pid', TIMEOUT_MS), 'third\n');
});

test('talk() says where nobody listens', async (t) => {
  await assert.rejects(talk(join(scratchFolder(t), 'none'), 'pid', TIMEOUT_MS), { code: 'NOT_FOUND' });
});
