import assert from 'node:assert/strict';
import { chmodSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import {
  type ClientOptions,
  openClient,
  type PublishedRepository,
} from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { rewriteCatalog } from '../../test/support/rewritten-catalog.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { objectsOf, readManifest } from '../../test/support/storage-place.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ObjectCheckPool } from '../node/object-check-pool.ts';
import { type ObjectCheck, PresenceCheck } from './check-objects.ts';
import { type CheckOptions, type CheckReport, checkRepository } from './check-repository.ts';

const scope = fileScope();
const published = await publishSmallTree(scope);
const { storage } = published;
const ROOT = readManifest(storage).rootCatalog;
const address = { fqrn: published.fqrn, servers: [storage], proxies: [], keyFiles: [] };
const pool = new ObjectCheckPool(address, 1);
scope.after(() => pool.close());

function check(
  options: Partial<CheckOptions> & { readonly client?: ClientOptions } = {},
  repository: PublishedRepository = published,
): Promise<CheckReport> {
  const { client, ...more } = options;
  const opened = openClient(repository, { retries: { rounds: 1 }, ...client });
  const objects: ObjectCheck = more.objects ?? new PresenceCheck(opened.servers);
  return checkRepository(opened.repository, { selection: {}, hashing: nodeHashing, ...more, objects });
}

const rulesOf = ({ findings }: CheckReport) => [...new Set(findings.map(({ rule }) => rule))];

for (const [what, options] of [
  ['by presence', {}],
  ['by content', { objects: pool }],
  ['of all tags', { objects: pool, allTags: true }],
  ['by tag', { selection: { tag: 'v1' } }],
  ['by root hash, without a key', { selection: { rootHash: ROOT }, client: { publicKey: undefined } }],
] as const) {
  test(`checkRepository() finds nothing wrong in what the publisher wrote: ${what}`, async () => {
    const report = await check(options);
    assert.deepEqual(report.findings, []);
    assert.equal(report.rootHash, ROOT);
    assert.equal(report.complete, true);
    assert.equal(report.findingsTotal, 0);
    const isAll = 'allTags' in options;
    assert.equal(report.catalogs, isAll ? 4 : 3);
    // The root of revision 0 alone is in its tree.
    assert.equal(report.entries, isAll ? 22 : 21);
    assert.ok(report.objects >= 15 && report.bytes > 300_000, JSON.stringify(report));
  });
}

/** Which objects a check has to look at: the tags of former revisions are history. */
function referenced(): string[] {
  const { history } = readManifest(storage);
  return objectsOf(storage).filter((path) => !path.endsWith('H') || path.endsWith(`${history!.slice(2)}H`));
}

const nameOf = (path: string) => path.replace(/^data\/(..)\/(.*?)[A-Z]?$/, '$1$2');

/** Damages a file while `look` looks, then puts it back. */
async function whileDamaged<T>(
  path: string,
  damage: (file: string) => void,
  look: () => Promise<T>,
): Promise<T> {
  const file = join(storage, path);
  const sound = readFileSync(file);
  try {
    damage(file);
    return await look();
  } finally {
    writeFileSync(file, sound);
  }
}

describe('checkRepository() by content', () => {
  for (const [index, path] of referenced().entries()) {
    test(`names object ${index} after any byte of it was flipped`, async () => {
      const { length } = readFileSync(join(storage, path));
      // First, last, and two that differ from object to object.
      for (const position of [0, length - 1, (index * 7919) % length, (index * 104_729 + 13) % length]) {
        const flip = (file: string) => {
          const bytes = readFileSync(file);
          bytes[position]! ^= 1 << ((index + position) % 8);
          writeFileSync(file, bytes);
        };
        const report = await whileDamaged(path, flip, () => check({ objects: pool, allTags: true }));
        assert.ok(report.findingsTotal > 0, `${path} at ${position}`);
        assert.ok(JSON.stringify(report.findings).includes(nameOf(path).slice(2)), JSON.stringify(report));
      }
    });
  }

  test('goes on after findings, and counts those it does not keep', async () => {
    const sound = new Map<string, Buffer>();
    const contents = referenced().filter((path) => !/[CHXM]$/.test(path));
    for (const path of contents) {
      sound.set(path, readFileSync(join(storage, path)));
      truncateSync(join(storage, path), 3);
    }
    try {
      const report = await check({ objects: pool });
      assert.equal(report.findingsTotal, contents.length);
      assert.deepEqual(rulesOf(report), ['object-content']);
    } finally {
      for (const [path, bytes] of sound) writeFileSync(join(storage, path), bytes);
    }
  });
});

const RULE_OF_MISSING: Readonly<Record<string, string>> = {
  C: 'catalog-object',
  X: 'manifest',
  H: 'history',
  M: 'metainfo',
};

for (const [index, path] of referenced().entries()) {
  test(`checkRepository() by presence names object ${index} when it is missing`, async () => {
    const report = await whileDamaged(path, rmSync, () => check({ allTags: true }));
    const rule = RULE_OF_MISSING[path.at(-1)!] ?? 'object-missing';
    assert.deepEqual(rulesOf(report), [rule]);
    assert.ok(report.findings[0]!.message.includes(path), report.findings[0]!.message);
  });
}

test('checkRepository() by presence finds objects that are empty', async () => {
  const path = referenced().find((one) => one.endsWith('P'))!;
  const report = await whileDamaged(
    path,
    (file) => truncateSync(file, 0),
    () => check(),
  );
  assert.deepEqual(rulesOf(report), ['object-content']);
  assert.match(report.findings[0]!.message, /has 0 bytes/);
  assert.equal(report.findings[0]!.path, '/chunked');
});

const row = (path: string) => `name = '${path.split('/').at(-1)}'`;

const MUTATIONS: readonly {
  readonly what: string;
  readonly mountpoint: string;
  readonly sql: string;
  readonly rules: readonly string[];
  readonly objects?: ObjectCheck;
}[] = [
  {
    what: 'a directory that differs from the root of its catalog',
    mountpoint: '/usr',
    sql: `UPDATE catalog SET mode = mode | 2 WHERE ${row('usr')}`,
    rules: ['transition-agreement'],
  },
  {
    what: 'a wrong subtree counter',
    mountpoint: '/usr',
    sql: "UPDATE statistics SET value = value + 1 WHERE counter = 'subtree_dir'",
    // The catalog above sums up what this one says.
    rules: ['subtree-counters'],
  },
  {
    what: 'a wrong size of a nested catalog',
    mountpoint: '',
    sql: 'UPDATE nested_catalogs SET size = size + 1',
    rules: ['catalog-size'],
  },
  {
    what: 'a nested catalog that is not there',
    mountpoint: '/usr',
    sql: "UPDATE nested_catalogs SET sha1 = '00' || substr(sha1, 3)",
    rules: ['catalog-object'],
  },
  {
    what: 'a wrong row of a nested catalog',
    mountpoint: '/usr/share',
    sql: `UPDATE catalog SET hardlinks = 0 WHERE ${row('readme')}`,
    rules: ['link-count'],
  },
  {
    what: 'a wrong size of a file',
    mountpoint: '',
    sql: `UPDATE catalog SET size = 6 WHERE ${row('a.txt')}; UPDATE statistics SET value = value + 1 WHERE counter = 'self_file_size'`,
    rules: ['object-content'],
    objects: pool,
  },
  {
    what: 'two sizes of one object',
    mountpoint: '',
    sql: `UPDATE catalog SET hash = (SELECT hash FROM catalog WHERE ${row('a.txt')}) WHERE ${row('passwd')}`,
    rules: ['object-size'],
  },
];

for (const { what, mountpoint, sql, rules, objects } of MUTATIONS) {
  test(`checkRepository() finds ${what}`, async () => {
    const change = (database: DatabaseSync) => database.exec(sql);
    const rootHash: ContentHash = rewriteCatalog(storage, ROOT, mountpoint, change);
    const report = await check({ selection: { rootHash }, ...(objects === undefined ? {} : { objects }) });
    assert.deepEqual(rulesOf(report), rules, JSON.stringify(report.findings));
    assert.equal(report.rootHash, rootHash);
    for (const { catalog, path, message } of report.findings) {
      assert.match(catalog!, /^[0-9a-f]{40}-shake128$/);
      assert.match(path, /^\//);
      assert.notEqual(message, '');
    }
  });
}

test('checkRepository() keeps a thousand findings, and counts all', async () => {
  const rootHash = rewriteCatalog(storage, ROOT, '', (database) => {
    const insert = database.prepare("INSERT INTO chunks VALUES (1, ?, 0, 1, x'00')");
    for (let i = 0; i < 3; i++) insert.run(i);
    const stray = database.prepare(
      "INSERT INTO catalog (md5path_1, md5path_2, parent_1, parent_2, hardlinks, size, mode, mtime, flags, name, symlink) VALUES (2, ?, 3, 3, 1, 0, 4480, 0, 20, ?, '')",
    );
    for (let i = 0; i < 1200; i++) stray.run(i, `stray-${i}`);
  });
  const report = await check({ selection: { rootHash } });
  assert.equal(report.findings.length, 1000);
  assert.equal(report.findingsTotal, 1201);
  assert.deepEqual(rulesOf(report), ['orphans']);
});

test('checkRepository() stops when its time is over, and says so', async () => {
  for (const steps of [0, 1, 5]) {
    let asked = 0;
    const report = await check({ isOver: () => asked++ >= steps });
    assert.equal(report.complete, false);
    assert.equal(report.findingsTotal, 0);
    assert.ok(report.catalogs <= 1, String(report.catalogs));
  }
});

test('checkRepository() reports how far it is', async () => {
  const seen: number[] = [];
  const report = await check({ onProgress: ({ objects }) => seen.push(objects) });
  assert.ok(seen.length > 0);
  assert.equal(seen.at(-1), report.objects);
});

for (const [what, options, code] of [
  ['no key', { client: { publicKey: undefined } }, 'TRUST'],
  ['a tag that is not there', { selection: { tag: 'v9' } }, 'NOT_FOUND'],
  ['a date before everything', { selection: { dateSeconds: 1 } }, 'NOT_FOUND'],
] as const) {
  test(`checkRepository() fails with ${code} for ${what}`, async () => {
    await assert.rejects(check(options), { code });
  });
}

test('checkRepository() fails with NOT_FOUND where there is no repository', async () => {
  const file = join(storage, MANIFEST_PATH);
  renameSync(file, `${file}.away`);
  try {
    await assert.rejects(check(), { code: 'NOT_FOUND' });
  } finally {
    renameSync(`${file}.away`, file);
  }
  chmodSync(file, 0o644);
});
