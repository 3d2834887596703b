import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { readManifest } from '../../test/support/storage-place.ts';
import { type ContentHash, hashBytes, objectPath } from '../core/content-hash.ts';
import { emptyHistory } from '../core/history.ts';
import type { Manifest } from '../core/manifest.ts';
import { REFLOG_PATH } from '../core/reflog.ts';
import { nodeHashing } from '../node/hashing.ts';
import { CheckContext } from './check-context.ts';
import { type CheckedMetadata, checkMetadata, type MetadataCheckOptions } from './check-metadata.ts';

const published = await publishSmallTree(fileScope());
const { storage } = published;
const MANIFEST = readManifest(storage);
const REFLOG = join(storage, REFLOG_PATH);

interface Checked {
  readonly metadata: CheckedMetadata;
  /** Rules and messages. */
  readonly findings: readonly (readonly [string, string])[];
  readonly notes: readonly string[];
}

async function check(
  options: Partial<MetadataCheckOptions> & {
    readonly manifest?: Partial<Manifest>;
    readonly isLocal?: boolean;
  } = {},
): Promise<Checked> {
  const { manifest, isLocal = true, ...more } = options;
  const { repository } = openClient(published, { retries: { rounds: 1 } });
  if (manifest !== undefined) repository.fetchManifest = async () => ({ ...MANIFEST, ...manifest });
  const context = new CheckContext(repository, { hashing: nodeHashing, isLocal });
  const metadata = await checkMetadata(context, { selection: {}, allTags: false, ...more });
  return {
    metadata,
    findings: context.findings.kept.map(({ rule, message }) => [rule, message]),
    notes: context.notes.kept.map(({ message }) => message),
  };
}

/** Changes the reference log while `look` looks. */
async function withReflog<T>(change: (file: string) => void, look: () => Promise<T>): Promise<T> {
  const sound = readFileSync(REFLOG);
  try {
    change(REFLOG);
    return await look();
  } finally {
    rmSync(REFLOG, { recursive: true, force: true });
    writeFileSync(REFLOG, sound);
  }
}

const editReflog = (sql: string) => (file: string) => {
  const database = new DatabaseSync(file);
  database.exec(sql);
  database.close();
};

test('checkMetadata() finds nothing wrong in what the publisher wrote, and knows all that it names', async () => {
  const { metadata, findings, notes } = await check({ allTags: true });
  assert.deepEqual([findings, notes], [[], []]);
  assert.equal(metadata.roots[0]?.hash, MANIFEST.rootCatalog);
  assert.ok(metadata.roots.length >= 3);
  const types = new Set(metadata.references?.map(({ type }) => type));
  assert.deepEqual(types, new Set(['catalog', 'certificate', 'history', 'metainfo']));
});

test('checkMetadata() looks at no reference log for a single snapshot', async () => {
  const withoutLog = (selection: MetadataCheckOptions['selection']) =>
    withReflog(rmSync, () => check({ selection }));
  for (const selection of [{ tag: 'v1' }, { rootHash: MANIFEST.rootCatalog }]) {
    const { findings, metadata } = await withoutLog(selection);
    assert.deepEqual(findings, []);
    assert.equal(metadata.references, undefined);
    assert.equal(metadata.roots.length, 1);
  }
});

for (const [what, type, field] of [
  ['catalog', 0, 'rootCatalog'],
  ['certificate', 1, 'certificate'],
  ['history', 2, 'history'],
  ['metainfo', 3, 'metainfo'],
] as const) {
  test(`checkMetadata() finds that the reference log lacks the ${what}`, async () => {
    const hash = MANIFEST[field]!;
    const { findings } = await withReflog(
      editReflog(`DELETE FROM refs WHERE hash = '${hash}' AND type = ${type}`),
      () => check(),
    );
    const path = objectPath(hash, 'CXHM'.charAt(type) as 'C');
    assert.deepEqual(findings, [
      ['reflog', `${path}, which the manifest names, is not in the reference log`],
    ]);
  });
}

test('checkMetadata() finds a reference log that is damaged, unreadable, or missing where one was', async () => {
  const damaged = await withReflog(
    (file) => writeFileSync(file, 'no database'),
    () => check(),
  );
  assert.deepEqual([damaged.findings[0]?.[0], damaged.metadata.references], ['reflog', undefined]);
  const folder = (file: string) => {
    rmSync(file);
    mkdirSync(file);
  };
  const unreadable = await withReflog(folder, () => check());
  assert.match(unreadable.findings[0]![1], /EISDIR/);
  const missing = await withReflog(rmSync, () => check());
  assert.match(missing.findings[0]![1], /Cannot get \.cvmfsreflog/);
});

test('checkMetadata() notes that there is no reference log, where none is needed', async () => {
  for (const options of [{ manifest: { reflog: undefined } }, { isLocal: false }]) {
    const { findings, notes } = await withReflog(rmSync, () => check(options));
    assert.deepEqual([findings, notes], [[], ['there is no reference log']]);
  }
});

test('checkMetadata() notes that the reference log is not what the manifest says: a collection changed it', async () => {
  const change = editReflog("INSERT INTO refs VALUES ('ab205d7ffb4918cb5de51e41cfd0a63fc04e5497', 0, 5)");
  const { findings, notes } = await withReflog(change, () => check());
  assert.deepEqual(findings, []);
  assert.match(notes[0]!, /^the reference log hashes to .*, not to what the manifest says/);
});

test('checkMetadata() trusts a checksum beside the repository more than the manifest', async () => {
  const change = editReflog("INSERT INTO refs VALUES ('ab205d7ffb4918cb5de51e41cfd0a63fc04e5497', 0, 5)");
  const reflogChecksum = hashBytes(nodeHashing, 'sha1', Uint8Array.of(1));
  const wrong = await withReflog(change, () => check({ reflogChecksum }));
  assert.match(
    wrong.findings[0]![1],
    new RegExp(`^the reference log hashes to .*, ${reflogChecksum} expected$`),
  );
  const right = await withReflog(change, () =>
    check({ reflogChecksum: hashBytes(nodeHashing, 'shake128', readFileSync(REFLOG)) }),
  );
  assert.deepEqual([right.findings, right.notes], [[], []]);
});

// ---- alternative paths ----

const alternative = (hash: ContentHash | undefined, type: string) =>
  join(storage, `.cvmfsalt-${hash}${type}`);
const link = (hash: ContentHash | undefined, type: 'C' | 'X' | 'H' | 'M') =>
  symlinkSync(objectPath(hash!, type), alternative(hash, type));
const { rootCatalog, certificate, history, metainfo } = MANIFEST;
const LINKS = [
  [rootCatalog, 'C'],
  [certificate, 'X'],
  [history, 'H'],
  [metainfo, 'M'],
] as const;

async function checkLinks(make: () => void): Promise<Checked['findings']> {
  try {
    make();
    return (await check({ manifest: { hasAlternativePaths: true } })).findings;
  } finally {
    for (const [hash, type] of LINKS) rmSync(alternative(hash, type), { force: true });
  }
}

test('checkMetadata() finds alternative paths sound, with or without those that clients do not need', async () => {
  assert.deepEqual(await checkLinks(() => LINKS.forEach(([hash, type]) => void link(hash, type))), []);
  const needed = LINKS.slice(0, 2);
  assert.deepEqual(await checkLinks(() => needed.forEach(([hash, type]) => void link(hash, type))), []);
});

test('checkMetadata() looks at alternative paths only where the manifest says that there are some', async () => {
  assert.deepEqual((await check()).findings, []);
});

test('checkMetadata() finds alternative paths that are missing or lead to something else', async () => {
  const missing = await checkLinks(() => link(rootCatalog, 'C'));
  assert.deepEqual(
    missing.map(([rule]) => rule),
    ['alternative-paths'],
  );
  assert.match(missing[0]![1], new RegExp(`\\.cvmfsalt-${certificate}X`));
  const wrong = await checkLinks(() => {
    link(rootCatalog, 'C');
    link(certificate, 'X');
    symlinkSync(objectPath(metainfo!, 'M'), alternative(history, 'H'));
  });
  assert.match(wrong[0]![1], /\.cvmfsalt-.*H is damaged/);
});

// ---- history ----

test('checkMetadata() applies the rules of histories', async () => {
  const { repository } = openClient(published);
  const context = new CheckContext(repository, { hashing: nodeHashing });
  repository.fetchHistory = async () => emptyHistory('small.example.org');
  await checkMetadata(context, { selection: {}, allTags: true });
  assert.deepEqual(
    context.findings.kept.map(({ rule, message }) => [rule, message]),
    [['history', 'the history has no tags, not even trunk']],
  );
});

test('checkMetadata() goes on without a history that cannot be read', async () => {
  const file = join(storage, objectPath(history!, 'H'));
  renameSync(file, `${file}.away`);
  try {
    const { findings, metadata } = await check({ allTags: true });
    assert.deepEqual(
      findings.map(([rule]) => rule),
      ['history'],
    );
    assert.equal(metadata.roots.length, 1);
    assert.deepEqual((await check({ selection: { tag: 'v1' } })).metadata.roots, []);
  } finally {
    renameSync(`${file}.away`, file);
  }
});
