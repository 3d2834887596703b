/** `thimble dump`: snapshots by revision, hidden entries, other revisions in bind mount points, what nobody can read. */

import assert from 'node:assert/strict';
import type { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import type { DumpedEntry } from '../../src/cli/dump-entries.ts';
import { fileScope } from '../support/file-scope.ts';
import { entry, memoryTree } from '../support/memory-tree.ts';
import { publisherRepository } from '../support/publisher-repository.ts';
import { rewriteCatalog } from '../support/rewritten-catalog.ts';
import { memoryScratch } from '../support/scratch.ts';
import { readManifest } from '../support/storage-place.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

const { storage, publicKey, publish } = await publisherRepository(memoryScratch(fileScope()), {
  virtualDirectory: true,
});
const treeWith = (content: string) =>
  memoryTree([entry(''), entry('/f', { content }), entry(`/${content}`, { content: 'x' })]);
const tag = (name: string) => ({ tag: { name, description: '' } });
const first = await publish(treeWith('first'), tag('v1'));
await publish(treeWith('second'));
const third = await publish(treeWith('third'), tag('v3'));

interface Dump {
  readonly revision: number;
  readonly root_hash: string;
  readonly entries: readonly DumpedEntry[];
}

const ARGS = ['dump', storage, '--key', publicKey];
const dump = (...options: string[]) => thimbleJson<Dump>([...ARGS, ...options]);
const pathsOf = ({ entries }: Dump) => entries.map(({ path }) => path);

test('"dump --revision" finds revisions by tag, and those that have none', async () => {
  const untagged = first.revision + 1;
  const dumps = await Promise.all(
    [first.revision, untagged, third.revision].map((n) => dump('--revision', `${n}`)),
  );
  assert.deepEqual(
    dumps.map(({ revision }) => revision),
    [first.revision, untagged, third.revision],
  );
  assert.deepEqual(dumps.map(pathsOf), [
    ['/', '/f', '/first'],
    ['/', '/f', '/second'],
    ['/', '/f', '/third'],
  ]);
  assert.equal(dumps[2]!.root_hash, readManifest(storage).rootCatalog);
});

test('"dump --revision" ends with 3 for one that there never was, and with 2 for what is none', async () => {
  const missing = await thimble([...ARGS, '--revision', '1000']);
  assert.equal(missing.status, 3);
  assert.match(missing.stderr, /Cannot find revision 1000 of tree\.example\.org\nhint: thimble log/);
  assert.equal((await thimble([...ARGS, '--revision', 'new'])).status, 2);
  const both = await thimble([...ARGS, '--revision', '1', '--tag', 'v1']);
  assert.deepEqual([both.status, /Cannot use --revision with --tag/.test(both.stderr)], [2, true]);
});

test('"dump" shows neither hidden entries nor other revisions', async () => {
  assert.deepEqual(pathsOf(await dump()), ['/', '/f', '/third']);
});

test('"dump --hidden" shows hidden entries, and where other revisions are', async () => {
  const { entries } = await dump('--hidden');
  const virtual = entries.find(({ path }) => path === '/.cvmfs')!;
  assert.deepEqual([virtual.hidden, virtual.catalog !== undefined], [true, true]);
  const bind = entries.find(({ path }) => path === '/.cvmfs/snapshots/v1')!;
  assert.match(bind.bind!, /^[0-9a-f]{40}/);
  assert.deepEqual([bind.hidden, bind.catalog], [undefined, undefined]);
  assert.equal(entries.filter(({ path }) => path?.startsWith('/.cvmfs/snapshots/v1/')).length, 0);
  const { stdout } = await thimble([...ARGS, '--hidden']);
  assert.match(stdout, /^\/\.cvmfs dir .* catalog=\S+ hidden$/m);
  assert.match(stdout, /^\/\.cvmfs\/snapshots\/v1 dir .* bind=[0-9a-f]{40}\S*$/m);
});

test('"dump --hidden --bind-mounts --content" goes into other revisions', async () => {
  const { entries } = await dump('--hidden', '--bind-mounts', '--content');
  const sums = ['/.cvmfs/snapshots/v1/f', '/.cvmfs/snapshots/v3/f', '/f'].map(
    (wanted) => entries.find(({ path }) => path === wanted)?.sha256,
  );
  assert.ok(sums.every((sum) => sum !== undefined));
  assert.notEqual(sums[0], sums[1]);
  assert.equal(sums[1], sums[2]);
});

test('"dump --content" goes on after a file that is stored in a way that nobody knows', async () => {
  const change = (database: DatabaseSync) =>
    database.exec("UPDATE catalog SET flags = flags | (6 << 11) WHERE name = 'f'");
  const root = rewriteCatalog(storage, readManifest(storage).rootCatalog, '', change);
  const { entries } = await thimbleJson<Dump>(['dump', storage, '--root-hash', root, '--content']);
  const file = entries.find(({ path }) => path === '/f')!;
  assert.match(file.unreadable!, /compression 6 is not known/);
  assert.equal(file.sha256, undefined);
  assert.ok(entries.find(({ path }) => path === '/third')?.sha256 !== undefined);
  const { stdout } = await thimble(['dump', storage, '--root-hash', root]);
  assert.match(stdout, /^\/f file .* unreadable=Cannot\\x20use\\x20entry/m);
});
