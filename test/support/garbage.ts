/**
 * Repositories with a past, collecting their garbage, and what has to hold after it. What is reachable is found by SQLite,
 * not by the reader of catalogs that the collector uses.
 */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import type { TestContext } from 'node:test';
import { inflateSync } from 'node:zlib';
import { checkRepository } from '../../src/client/check-repository.ts';
import {
  type ContentHash,
  contentHashOf,
  HASH_ALGORITHMS,
  hashBytes,
  objectPath,
} from '../../src/core/content-hash.ts';
import { formatManifest, MANIFEST_PATH, type Manifest } from '../../src/core/manifest.ts';
import { silentLog } from '../../src/core/ports.ts';
import { decodeReflog, OBJECT_TYPE_OF, REFLOG_PATH, type ReferenceType } from '../../src/core/reflog.ts';
import { formatSignedText } from '../../src/core/signed-text.ts';
import type { Tree } from '../../src/core/tree.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { nodeInflating } from '../../src/node/inflating.ts';
import { ObjectCheckPool } from '../../src/node/object-check-pool.ts';
import { openRepository } from '../../src/node/repository-access.ts';
import type { PublishResult } from '../../src/publish/publisher.ts';
import { FolderStorage } from '../../src/storage/folder-storage.ts';
import {
  collectGarbage,
  type GarbageOptions,
  type GarbageReport,
} from '../../src/storage/garbage-collection.ts';
import { encodeReflog } from '../../src/storage/reflog-writer.ts';
import type { Storage } from '../../src/storage/storage.ts';
import { entry, memoryTree, noise } from './memory-tree.ts';
import { type PublisherRepository, publisherRepository } from './publisher-repository.ts';
import { memoryScratch } from './scratch.ts';
import { objectsOf, openObject, readManifest } from './storage-place.ts';

export const DAY = 86_400;

/** `own` changes with each revision, `shared` and its nested catalog stay. */
export const treeOf = (own: string): Tree =>
  memoryTree([
    entry(''),
    entry('/own', { content: own }),
    entry('/large', { content: noise(40_000, own.charCodeAt(0)) }),
    entry('/changing'),
    entry('/changing/.cvmfscatalog', { content: '' }),
    entry('/changing/file', { content: `in ${own}` }),
    entry('/shared'),
    entry('/shared/.cvmfscatalog', { content: '' }),
    entry('/shared/file', { content: 'always the same' }),
  ]);

export interface Published extends PublisherRepository {
  /** Revisions 1, 2, ... of the trees `a`, `b`, ..., a day apart; now is a day after the last. */
  readonly published: readonly PublishResult[];
  readonly scratch: string;
}

export async function publishDaily(
  t: Pick<TestContext, 'after'>,
  trees: string,
  settings: Parameters<typeof publisherRepository>[1] = {},
): Promise<Published> {
  const scratch = memoryScratch(t);
  const repository = await publisherRepository(scratch, settings);
  const published: PublishResult[] = [];
  for (const own of trees) {
    repository.clock.seconds += DAY;
    published.push(await repository.publish(treeOf(own)));
  }
  repository.clock.seconds += DAY;
  return { ...repository, published, scratch };
}

export const rootsOf = ({ published }: Published, ...revisions: number[]) =>
  revisions.map((revision) => published[revision - 1]!.rootCatalog);

/** Those root catalogs that are there, by revision. */
export function revisionsOf({ published, storage }: Published): number[] {
  const present = new Set(objectsOf(storage));
  return published
    .filter(({ rootCatalog }) => present.has(objectPath(rootCatalog, 'C')))
    .map((one) => one.revision);
}

/** Those of younger changes than the oldest revision that stays are kept, too. */
export const withoutHistories = (...lists: [string[], string[]]): [string[], string[]] =>
  lists.map((paths) => paths.filter((path) => !path.endsWith('H'))) as [string[], string[]];

export function referencesOf({ storage }: PublisherRepository, type: ReferenceType): ContentHash[] {
  return decodeReflog(readFileSync(join(storage, REFLOG_PATH)))
    .filter((reference) => reference.type === type)
    .map(({ hash }) => hash);
}

/** An object that the reference log has since `timestampSeconds`. */
export function addReference(
  { storage, settings, scratch }: Published,
  type: ReferenceType,
  bytes: Uint8Array,
  timestampSeconds: number,
): ContentHash {
  const hash = hashBytes(nodeHashing, 'shake128', bytes);
  const object = join(storage, objectPath(hash, OBJECT_TYPE_OF[type]));
  mkdirSync(dirname(object), { recursive: true });
  writeFileSync(object, bytes);
  const path = join(storage, REFLOG_PATH);
  const change = { added: [{ hash, type }], timestampSeconds };
  writeFileSync(path, encodeReflog(settings.fqrn, readFileSync(path), change, join(scratch, 'db')));
  return hash;
}

/** The signature no longer fits: the collector cannot tell, and need not. */
export async function changeManifest(
  { storage }: PublisherRepository,
  changes: Partial<Manifest>,
): Promise<void> {
  const lines = formatManifest({ ...readManifest(storage), ...changes });
  const signed = await formatSignedText(nodeHashing, 'shake128', lines, () => new Uint8Array(256));
  writeFileSync(join(storage, MANIFEST_PATH), signed);
}

/** Unless told otherwise, at once and without looking back. */
export function collect(
  { settings, storage, folder, clock }: PublisherRepository,
  options: GarbageOptions = {},
  through: Storage = new FolderStorage(storage),
): Promise<GarbageReport> {
  return collectGarbage(
    {
      fqrn: settings.fqrn,
      storage: through,
      lock: join(folder, 'publish.lock'),
      state: join(folder, 'gc-'),
    },
    { hashing: nodeHashing, inflating: nodeInflating, clock },
    { keepRevisions: 0, graceSeconds: 0, ...options },
  );
}

/** The newest snapshot and those of all tags are whole, every byte. */
export async function assertSound(storage: string, publicKey: string): Promise<void> {
  const fqrn = storage.split('/').at(-1)!;
  const address = { fqrn, servers: [storage], proxies: [], keyFiles: [publicKey] };
  const access = openRepository(address, {
    cacheFolder: undefined,
    cacheLimitBytes: 64 * 1024 * 1024,
    log: silentLog,
  });
  const objects = new ObjectCheckPool(address, 1);
  try {
    const { findings } = await checkRepository(access.repository, {
      selection: {},
      allTags: true,
      hashing: nodeHashing,
      objects,
    });
    assert.deepEqual(findings, []);
  } finally {
    await objects.close();
    access.close();
  }
}

/** Paths of all objects that manifest, tags and further snapshots need; sorted. */
export function neededObjects(storage: string, roots: readonly ContentHash[] = []): string[] {
  const scratch = mkdtempSync(join(tmpdir(), 'thimble-test-'));
  try {
    const { rootCatalog, certificate, history, metainfo, profiles } = readManifest(storage);
    const paths = new Set<string>();
    if (certificate !== undefined) paths.add(objectPath(certificate, 'X'));
    if (metainfo !== undefined) paths.add(objectPath(metainfo, 'M'));
    if (profiles !== undefined) addProfiles(storage, profiles, paths);
    const all = [rootCatalog, ...roots];
    if (history !== undefined) {
      paths.add(objectPath(history, 'H'));
      const database = openObject(storage, history, 'H', scratch);
      for (const { hash } of database.prepare('SELECT hash FROM tags').all()) all.push(hash as ContentHash);
      database.close();
    }
    for (const root of all) addTree(storage, root, paths, scratch);
    return [...paths].sort();
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function addProfiles(storage: string, index: ContentHash, paths: Set<string>): void {
  paths.add(objectPath(index, ''));
  const text = inflateSync(readFileSync(join(storage, objectPath(index, '')))).toString();
  const { profiles } = JSON.parse(text) as {
    profiles: { table: ContentHash; packs: { hash: ContentHash }[] }[];
  };
  for (const { table, packs } of profiles) {
    for (const hash of [table, ...packs.map((pack) => pack.hash)]) paths.add(objectPath(hash, ''));
  }
}

function addTree(storage: string, hash: ContentHash, paths: Set<string>, scratch: string): void {
  if (paths.has(objectPath(hash, 'C'))) return;
  paths.add(objectPath(hash, 'C'));
  const database = openObject(storage, hash, 'C', scratch);
  const rows = (sql: string) => contentsOf(database, sql);
  for (const row of rows('SELECT hash, flags FROM catalog WHERE hash IS NOT NULL'))
    paths.add(objectPath(row, ''));
  const chunks = rows('SELECT chunks.hash, flags FROM chunks JOIN catalog USING (md5path_1, md5path_2)');
  for (const chunk of chunks) paths.add(objectPath(chunk, 'P'));
  const nested = database.prepare('SELECT sha1 FROM nested_catalogs').all();
  database.close();
  for (const { sha1 } of nested) addTree(storage, sha1 as ContentHash, paths, scratch);
}

function contentsOf(database: DatabaseSync, sql: string): ContentHash[] {
  return database
    .prepare(sql)
    .all()
    .filter(({ flags }) => (Number(flags) & 128) === 0)
    .map(({ hash, flags }) => contentHashOf(HASH_ALGORITHMS[(Number(flags) >> 8) & 7]!, hash as Uint8Array));
}
