import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { DumpedEntry } from '../../src/cli/dump-entries.ts';
import {
  type FixtureEntry,
  type FixtureManifest,
  fixtureManifest,
  fixturePath,
  unpackFixture,
} from '../support/fixtures.ts';
import { assertGolden } from '../support/golden.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';
import { startNginx } from '../support/web-servers.ts';

interface Dump {
  readonly fqrn: string;
  readonly revision: number;
  readonly root_hash: string;
  readonly entries: readonly DumpedEntry[];
}

interface Case {
  readonly name: string;
  readonly manifest?: string;
  readonly archive?: string;
  readonly args?: readonly string[];
}

const WITH_VARIABLE = ['--variable', 'PEER_FIXTURE_VAR=varvalue'];
/** Is not shown: what links show is named. */
const env = { PEER_FIXTURE_VAR: 'of the environment' };
const BEFORE_ROLLBACK = { name: 'history', archive: 'repo-before-rollback.tar.zst' };
const CASES: readonly Case[] = [
  { name: 'basic', args: WITH_VARIABLE },
  { name: 'basic', manifest: 'manifest-novar.json' },
  { name: 'shake128', args: WITH_VARIABLE },
  { name: 'nocompress', args: WITH_VARIABLE },
  { name: 'overlay', args: WITH_VARIABLE },
  { name: 'history' },
  { name: 'history', manifest: 'manifest-v1.json', args: ['--tag', 'v1'] },
  { name: 'history', manifest: 'manifest-v2.json', args: ['--tag', 'v2'] },
  { ...BEFORE_ROLLBACK, manifest: 'manifest-before-rollback-v2.json', args: ['--tag', 'v2'] },
  { ...BEFORE_ROLLBACK, manifest: 'manifest-before-rollback-v3.json', args: ['--tag', 'v3'] },
  { ...BEFORE_ROLLBACK, manifest: 'manifest-before-rollback-v4.json', args: ['--tag', 'v4'] },
];

/** What the reference client tells in its magic attributes, which has no field of its own in a dump. */
function comparable(entry: DumpedEntry): Record<string, unknown> {
  const { hash, compression, chunks, rawlink, catalog, external, ...fields } = entry;
  if (entry.type === 'symlink') return { ...fields, magic: { rawlink: rawlink ?? entry.target } };
  if (entry.type !== 'file') return fields;
  const magic = {
    ...(hash === undefined ? {} : { hash }),
    ...(hash !== undefined && compression === 'zlib' && chunks === undefined ? { lhash: hash } : {}),
    chunks: String(chunks?.length ?? 1),
    compression,
    external_file: external ? '1' : '0',
  };
  return { ...fields, magic };
}

/**
 * `lhash` is what the reference gets when it compresses the content in its cache anew. That is the hash for compressed
 * files; for others it says nothing of the repository.
 */
function expected(entry: FixtureEntry): Record<string, unknown> {
  const { magic, ...fields } = entry as { magic?: Record<string, string> };
  if (magic === undefined || (magic['compression'] === 'zlib' && magic['chunks'] === '1'))
    return { ...entry };
  const { lhash, ...rest } = magic;
  return { ...fields, magic: rest };
}

const keyOf = (entry: FixtureEntry | DumpedEntry) => entry.path ?? `base64:${entry.path_b64}`;

function assertAgrees(dump: Dump, manifest: FixtureManifest): void {
  assert.equal(dump.fqrn, manifest.fqrn);
  assert.equal(dump.root_hash, manifest.root_hash);
  assert.equal(String(dump.revision), manifest.revision);
  const found = new Map(dump.entries.map((entry) => [keyOf(entry), comparable(entry)]));
  assert.deepEqual([...found.keys()].sort(), manifest.entries.map(keyOf).sort());
  for (const entry of manifest.entries)
    assert.deepEqual(found.get(keyOf(entry)), expected(entry), keyOf(entry));
}

describe('repositories of the reference implementation', () => {
  for (const { name, manifest: file = 'manifest.json', archive, args = [] } of CASES) {
    test(`dump agrees with ${name}/${file} in every field`, async (t) => {
      const manifest = fixtureManifest(name, file);
      const folder = unpackFixture(name, scratchFolder(t), archive);
      const key = fixturePath(join(name, `${manifest.fqrn}.pub`));
      const dump = await thimbleJson<Dump>(['dump', folder, '--key', key, '--content', ...args], { env });
      assertAgrees(dump, manifest);
    });
  }

  test(
    'dump agrees with external/manifest.json in every field, files from a web server',
    needs('nginx'),
    async (t) => {
      const scratch = scratchFolder(t);
      const folder = unpackFixture('external', scratch);
      const data = unpackFixture('external', scratch, 'external-data.tar.zst', 'ext-data/external.peer.test');
      const key = fixturePath('external/external.peer.test.pub');
      const url = await startNginx(t, 'ext-data', data);
      const args = ['dump', folder, '--key', key, '--content'];
      assertAgrees(await thimbleJson<Dump>([...args, '--external-server', url]), fixtureManifest('external'));
      const { entries } = await thimbleJson<Dump>(args);
      const files = entries.filter((entry) => entry.type === 'file');
      assert.ok(files.every(({ external, sha256 }) => external && sha256 === undefined));
    },
  );
});

describe('repositories made from the format document', () => {
  for (const name of ['repo-sha1', 'repo-shake128', 'repo-reference']) {
    test(`${name} dumps as it always did`, async (t) => {
      const scratch = scratchFolder(t);
      const folder = join(scratch, 'test.example.org');
      renameSync(unpackFixture('format-vectors', scratch, `${name}.tar.zst`, name), folder);
      const key = fixturePath(`format-vectors/${name}.pub`);
      const { stdout } = await thimble(['dump', folder, '--key', key, '--content']);
      assertGolden(`${name}.dump`, stdout);
    });
  }
});
