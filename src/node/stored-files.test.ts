import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { rewriteCatalog } from '../../test/support/rewritten-catalog.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { objectsOf, readManifest } from '../../test/support/storage-place.ts';
import { type CheckReport, checkRepository } from '../client/check-repository.ts';
import { hashBytes, objectPath } from '../core/content-hash.ts';
import { REFLOG_PATH } from '../core/reflog.ts';
import { nodeHashing } from './hashing.ts';
import { ObjectCheckPool } from './object-check-pool.ts';
import { FolderFiles } from './stored-files.ts';

const scope = fileScope();
const published = await publishSmallTree(scope);
const { storage } = published;
const pool = new ObjectCheckPool({ fqrn: published.fqrn, servers: [storage], proxies: [], keyFiles: [] }, 1);
scope.after(() => pool.close());

function check(): Promise<CheckReport> {
  const { repository } = openClient(published, { retries: { rounds: 1 } });
  return checkRepository(repository, {
    selection: {},
    hashing: nodeHashing,
    isLocal: true,
    objects: pool,
    storedFiles: new FolderFiles(storage),
  });
}

async function whileThere<T>(path: string, put: (file: string) => void, look: () => Promise<T>): Promise<T> {
  const file = join(storage, path);
  mkdirSync(dirname(file), { recursive: true });
  try {
    put(file);
    return await look();
  } finally {
    rmSync(file, { recursive: true, force: true });
  }
}

const rulesOf = ({ findings }: CheckReport) => findings.map(({ rule, path }) => [rule, path]);

test('everything that the publisher stored is named by something', async () => {
  const report = await check();
  assert.deepEqual(report.findings, []);
  assert.deepEqual(report.unreferenced, { objects: 0, bytes: 0, paths: [] });
});

for (const [index, type] of (['', 'C', 'H', 'X', 'M', 'P', 'L'] as const).entries()) {
  test(`an object of type ${JSON.stringify(type)} that nothing names is listed, and is no finding`, async () => {
    const bytes = Buffer.from(`nobody needs ${index}`);
    const hash = hashBytes(nodeHashing, index % 2 === 0 ? 'sha1' : 'shake128', bytes);
    const path = type === 'L' ? `data/${hash.slice(0, 2)}/${hash.slice(2)}L` : objectPath(hash, type);
    const report = await whileThere(path, (file) => writeFileSync(file, bytes), check);
    assert.deepEqual(report.findings, []);
    assert.deepEqual(report.unreferenced, { objects: 1, bytes: bytes.length, paths: [path] });
  });
}

test('an object that nothing names is damaged all the same', async () => {
  const path = `data/00/${'1'.repeat(38)}P`;
  const report = await whileThere(path, (file) => writeFileSync(file, 'something else'), check);
  assert.deepEqual(rulesOf(report), [['stored-files', '/']]);
  assert.match(report.findings[0]!.message, /^data\/00\/1+P: .* is damaged/);
  assert.equal(report.unreferenced?.objects, 1);
});

for (const [path, what] of [
  ['data/readme', 'is not the name of an object'],
  ['data/0', 'is not the name of an object'],
  [`data/zz/${'1'.repeat(38)}`, 'is not the name of an object'],
  ['data/00/short', 'is not the name of an object'],
  [`data/00/${'A'.repeat(38)}`, 'is not the name of an object'],
  [`data/00/${'1'.repeat(38)}-md5`, 'is not the name of an object'],
  [`data/00/${'1'.repeat(38)}T`, 'ends with T, which is no type of objects'],
] as const) {
  test(`${path} is a finding: it ${what}`, async () => {
    const report = await whileThere(path, (file) => writeFileSync(file, 'x'), check);
    const [finding] = report.findings;
    assert.equal(finding?.rule, 'stored-files');
    assert.ok(finding?.message.endsWith(what), finding?.message);
    if (path.startsWith('data/zz')) rmSync(join(storage, 'data/zz'), { recursive: true });
  });
}

for (const [what, put, message] of [
  ['empty', (file: string) => writeFileSync(file, ''), 'is empty'],
  ['a folder', (file: string) => void mkdirSync(file), 'is not a file'],
  ['a link', (file: string) => symlinkSync('/nowhere', file), 'is not a file'],
] as const) {
  test(`an object that is ${what} is a finding`, async () => {
    const report = await whileThere(`data/00/${'1'.repeat(38)}`, put, check);
    assert.deepEqual(
      report.findings.map((finding) => finding.message.replace(/^\S+ /, '')),
      [message],
    );
  });
}

test('temporary files are left alone', async () => {
  const report = await whileThere('data/txn/123/x', (file) => writeFileSync(file, ''), check);
  assert.deepEqual([report.findings, report.unreferenced?.objects], [[], 0]);
});

test('what only the reference log names is named, and all below it', async () => {
  const { rootCatalog } = readManifest(storage);
  const change = (database: DatabaseSync) =>
    database.exec("UPDATE catalog SET mtime = mtime + 1 WHERE name = 'readme'");
  const before = objectsOf(storage);
  const root = rewriteCatalog(storage, rootCatalog, '/usr/share', change);
  const added = objectsOf(storage).filter((path) => !before.includes(path));
  assert.equal((await check()).unreferenced?.objects, 3, 'three catalogs');
  const log = join(storage, REFLOG_PATH);
  const sound = readFileSync(log);
  try {
    const database = new DatabaseSync(log);
    database.prepare('INSERT INTO refs VALUES (?, 0, 5)').run(root);
    database.close();
    const report = await check();
    assert.deepEqual([report.findings, report.unreferenced?.objects], [[], 0]);
    // And has to be there.
    rmSync(join(storage, added.find((path) => path.includes(root.slice(2)))!));
    const missing = await check();
    assert.ok(missing.findings.some(({ rule }) => rule === 'reflog-object'));
  } finally {
    writeFileSync(log, sound);
    for (const path of added) rmSync(join(storage, path), { force: true });
  }
});

test('without a reference log only what does not belong there is found', async () => {
  const log = join(storage, REFLOG_PATH);
  renameSync(log, `${log}.away`);
  try {
    const path = `data/00/${'1'.repeat(38)}`;
    const report = await whileThere(path, (file) => writeFileSync(file, 'x'), check);
    assert.deepEqual(
      report.findings.map(({ rule }) => rule),
      ['reflog'],
    );
    assert.equal(report.unreferenced?.objects, 0);
    assert.match(report.notes[0]!.message, /nobody can tell what nothing names/);
  } finally {
    renameSync(`${log}.away`, log);
  }
});

test('FolderFiles fails with STORAGE where there is no storage', async (t) => {
  await assert.rejects(new FolderFiles(scratchFolder(t)).list().next(), { code: 'STORAGE' });
});
