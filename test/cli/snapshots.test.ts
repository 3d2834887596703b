/** Names, revisions and differences, as somebody does it who reads docs/manual/snapshots.md. */

import assert from 'node:assert/strict';
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { JsonDifference } from '../../src/cli/format-diff.ts';
import type { DiffSummary } from '../../src/client/diff.ts';
import type { Revision } from '../../src/client/revisions.ts';
import type { Tag } from '../../src/core/history.ts';
import type { PublishResult, RollbackResult } from '../../src/publish/publisher.ts';
import { assertFails } from '../support/cli-failures.ts';
import { fileScope } from '../support/file-scope.ts';
import { fixturePath, unpackFixture } from '../support/fixtures.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, makeTree } from '../support/trees.ts';

const FQRN = 'os.example.org';
const scope = fileScope();
const scratch = memoryScratch(scope);
const config = ['--config', join(scratch, 'config')];
const storage = join(scratch, FQRN);
let first: PublishResult;
let second: PublishResult;

const run = (...args: string[]) => thimble([...args, ...config]);
const json = <T>(...args: string[]) => thimbleJson<T>([...args, ...config]);

async function printed(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await run(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}

// The tests below follow each other on one repository, as its users do.
before(async () => {
  const tree = join(scratch, 'tree');
  makeTree(tree, dir({ 'a file': file('old'), gone: file('gone'), mode: file('same') }, { mtimeSeconds: 5 }));
  await json('repo', 'create', FQRN, '--storage', storage);
  first = await json('publish', FQRN, tree, '--tag', 'v1', '--message', 'the first');
  rmSync(join(tree, 'gone'));
  writeFileSync(join(tree, 'a file'), 'changed');
  writeFileSync(join(tree, 'new'), 'new');
  chmodSync(join(tree, 'mode'), 0o600);
  second = await json('publish', FQRN, tree);
});

test('"diff" prints a line a path, and what is new', async () => {
  const lines = (await printed('diff', FQRN, 'v1')).trimEnd().split('\n');
  assert.deepEqual(lines, [
    'M mtime /',
    'M content,mtime /a\\x20file size=3->7',
    '- /gone size=4',
    'M mode /mode size=4',
    '+ /new size=3',
    '1 added, 1 removed, 3 changed; 10 bytes of new content',
  ]);
});

test('"diff --json" has both sides of each entry, for tags, root hashes and trunk alike', async () => {
  interface Diff {
    readonly fqrn: string;
    readonly from: { readonly root_hash: string };
    readonly to: { readonly root_hash: string };
    readonly differences: readonly JsonDifference[];
    readonly summary: DiffSummary;
  }
  const diff = await json<Diff>('diff', FQRN, second.rootCatalog, 'v1');
  assert.deepEqual([diff.from.root_hash, diff.to.root_hash], [second.rootCatalog, first.rootCatalog]);
  assert.deepEqual(diff.summary, { added: 1, removed: 1, changed: 3, newContentBytes: 7 });
  assert.deepEqual(
    diff.differences.map(({ change, fields, from, to }) => [change, fields, from?.path, to?.path]),
    [
      ['changed', ['mtime'], '/', '/'],
      ['changed', ['content', 'mtime'], '/a file', '/a file'],
      ['added', undefined, undefined, '/gone'],
      ['changed', ['mode'], '/mode', '/mode'],
      ['removed', undefined, '/new', undefined],
    ],
  );
  assert.deepEqual([diff.differences[3]!.from!.mode, diff.differences[3]!.to!.mode], ['0600', '0644']);
  const same = await json<Diff>('diff', FQRN, 'trunk', second.rootCatalog);
  assert.deepEqual(same.differences, []);
});

test('"diff" of two root hashes needs no key', async () => {
  const args = ['diff', storage, first.rootCatalog, second.rootCatalog];
  const { status, stdout } = await thimble([...args, '--config', join(scratch, 'nothing')]);
  assert.deepEqual([status, stdout.split('\n').length], [0, 7]);
});

test('"tag add" names the newest snapshot, or the one that is chosen', async () => {
  const text = await printed('tag', 'add', FQRN, 'stable', '--message', 'passed all tests');
  assert.match(text, /^name {9}stable\nrevision {5}2\n[\s\S]*\nmessage {6}passed all tests\n$/);
  const added = await json<Tag>('tag', 'add', FQRN, 'by-hash', '--root-hash', first.rootCatalog);
  assert.deepEqual([added.name, added.revision, added.rootCatalog], ['by-hash', 1, first.rootCatalog]);
  assert.equal((await json<Tag>('tag', 'add', FQRN, 'by-tag', '--tag', 'v1')).revision, 1);
  const shown = await json<Tag>('tag', 'show', FQRN, 'by-hash');
  assert.deepEqual(shown, added);
  assert.match(await printed('tag', 'show', FQRN, 'v1'), new RegExp(`\nroot hash {4}${first.rootCatalog}\n`));
});

for (const [args, code, says] of [
  [['tag', 'add', FQRN, 'v1'], 'CONFLICT', /^Cannot add tag v1: it is the name of revision 1$/],
  [['tag', 'add', FQRN, 'trunk'], 'USAGE', /^Cannot use trunk as a tag/],
  [['tag', 'add', FQRN, 'new', '--tag', 'nope'], 'NOT_FOUND', /^Cannot find tag "nope" in os\.example\.org$/],
  [['tag', 'add', FQRN, 'new', '--root-hash', 'abc'], 'USAGE', /^Cannot read --root-hash: "abc"/],
  [
    ['tag', 'add', FQRN, 'new', '--root-hash', 'a'.repeat(40)],
    'NOT_FOUND',
    /^Cannot add tag new: there is no/,
  ],
  [['tag', 'add', FQRN, 'new', '--tag', 'v1', '--date', '2026-01-01'], 'USAGE', /^Cannot use more than one/],
  [['tag', 'add', 'absent.example.org', 'new'], 'NOT_FOUND', /^Cannot find repository absent\.example\.org/],
  [['tag', 'remove', FQRN, 'trunk'], 'USAGE', /^Cannot remove tag trunk: it is maintained by each publish$/],
  [['tag', 'remove', FQRN, 'v1', 'nope'], 'NOT_FOUND', /^Cannot find tag "nope"/],
  [['tag', 'remove', FQRN], 'USAGE', /^missing required argument 'names'$/],
  [['tag', 'show', FQRN, 'nope'], 'NOT_FOUND', /^Cannot find tag "nope"/],
  [['tag', 'list', FQRN, '--tag', 'v1'], 'USAGE', /^unknown option '--tag'$/],
  [['rollback', FQRN, 'nope'], 'NOT_FOUND', /^Cannot find tag "nope"/],
  [['rollback', FQRN, 'trunk'], 'CONFLICT', /^Cannot roll back to trunk: it is the newest revision already$/],
  [['log', FQRN, '--count', '0'], 'USAGE', /^Cannot use "0" as a number of revisions$/],
  [['log', 'absent.example.org'], 'NOT_FOUND', /^Cannot find repository absent\.example\.org/],
  [['diff', FQRN, 'nope'], 'NOT_FOUND', /^Cannot find tag "nope"/],
  [['diff', FQRN, 'v1', 'a'.repeat(40)], 'NOT_FOUND', /aaaa/],
  [['diff', FQRN], 'USAGE', /^missing required argument 'from'$/],
] as const) {
  test(`"${args.join(' ').slice(0, 70)}" fails with ${code}, and nothing changes`, async () => {
    const manifest = readFileSync(join(storage, '.cvmfspublished'));
    assertFails(await run(...args), { code, says });
    assert.deepEqual(readFileSync(join(storage, '.cvmfspublished')), manifest);
  });
}

test('"tag remove" takes several names, and says what they were', async () => {
  const text = await printed('tag', 'remove', FQRN, 'by-tag', 'by-hash');
  assert.deepEqual(text.trimEnd().split('\n').sort(), [
    `Removed by-hash: revision 1, ${first.rootCatalog}`,
    `Removed by-tag: revision 1, ${first.rootCatalog}`,
  ]);
  const tags = await json<Tag[]>('tag', 'list', FQRN);
  assert.deepEqual(tags.map(({ name }) => name).sort(), ['stable', 'trunk', 'trunk-previous', 'v1']);
});

test('"rollback" publishes the older tree again, and "log" shows what has happened', async () => {
  const result = await json<RollbackResult>('rollback', FQRN, 'v1');
  assert.deepEqual([result.revision, result.target.revision, result.removedTags], [3, 1, ['stable']]);
  assert.match(await printed('diff', FQRN, first.rootCatalog), /^0 added, 0 removed, 0 changed; 0 bytes/);
  const revisions = await json<Revision[]>('log', FQRN);
  assert.deepEqual(
    revisions.map(({ revision, rootCatalog, tags, message }) => [revision, rootCatalog, tags, message]),
    [
      [3, result.rootCatalog, ['v1', 'trunk'], 'the first'],
      [2, second.rootCatalog, [], ''],
      [1, first.rootCatalog, [], ''],
      [0, revisions[3]!.rootCatalog, [], ''],
    ],
  );
  const lines = (await printed('log', FQRN, '--count', '2')).trimEnd().split('\n');
  assert.match(
    lines[0]!,
    / {5}3 {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}[0-9a-f]{40}-shake128 {2}v1, trunk {2}the first$/,
  );
  assert.match(lines[1]!, / {5}2 {2}\S+ {2}[0-9a-f]{40}-shake128$/);
  assert.equal(lines.length, 2);
  assertFails(await run('rollback', FQRN), { code: 'NOT_FOUND', says: /^Cannot find tag "trunk-previous"/ });
});

test('"rollback" says which revision it is, and which tags went', async () => {
  await json('tag', 'add', FQRN, 'young');
  await json('publish', FQRN, join(scratch, 'tree'), '--tag', 'v4');
  const text = await printed('rollback', FQRN);
  assert.match(
    text,
    /^Revision 5 of os\.example\.org, root hash \S+: the tree of revision 3 again\nRemoved younger tags: v4\n$/,
  );
});

test('"log", "tag show" and "diff" read what the reference has written, after its rollback', async () => {
  const folder = unpackFixture('history', scratch);
  const key = ['--key', fixturePath('history/history.peer.test.pub')];
  const log = (await printed('log', folder, ...key)).trimEnd().split('\n');
  assert.deepEqual(
    log.map((line) => line.trim().split(/ {2}/).toSpliced(1, 2).join('  ')),
    [
      '6  v2, trunk  second_release_changes_and_removals',
      '5',
      '4',
      '3  v2-alias  alias of v2, description with spaces and ünicode',
      '2  v1',
      '1  generic-2026-11-22T14:12:51Z',
    ],
  );
  assert.equal((await json<Tag>('tag', 'show', folder, 'v2', ...key)).revision, 6);
  assert.match(await printed('diff', folder, 'v2-alias', 'v2', ...key), /^0 added, 0 removed, 0 changed;/);
  assert.equal(
    await printed('diff', folder, 'v1', ...key),
    [
      'M content,mtime /a size=4',
      'M content,mtime /d1/big size=43893->46385',
      'M mtime,links /d2/nested',
      '+ /d2/nested/deep',
      '+ /d2/nested/deep/.cvmfscatalog size=0',
      '+ /d2/nested/deep/g size=4',
      'M content,mtime /d2/nested/f size=3',
      'M mode /keep size=5',
      '- /lnk',
      'M type,mode,mtime /swap',
      '+ /swap/in size=3',
      'M type,mode,mtime /todir',
      '- /todir/x size=2',
      '4 added, 2 removed, 7 changed; 46,411 bytes of new content',
      '',
    ].join('\n'),
  );
});
