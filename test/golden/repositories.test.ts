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
import { scratchFolder } from '../support/scratch.ts';
import { thimble, thimbleJson } from '../support/thimble.ts';

interface Dump {
  readonly fqrn: string;
  readonly revision: number;
  readonly root_hash: string;
  readonly entries: readonly DumpedEntry[];
}

interface Case {
  readonly name: string;
  readonly manifest: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

const WITH_VARIABLE = { PEER_FIXTURE_VAR: 'varvalue' };
const CASES: readonly Case[] = [
  { name: 'basic', manifest: 'manifest.json', env: WITH_VARIABLE },
  { name: 'basic', manifest: 'manifest-novar.json' },
  { name: 'shake128', manifest: 'manifest.json', env: WITH_VARIABLE },
  { name: 'history', manifest: 'manifest.json', env: WITH_VARIABLE },
  { name: 'history', manifest: 'manifest-v1.json', args: ['--tag', 'v1'], env: WITH_VARIABLE },
  { name: 'history', manifest: 'manifest-v2.json', args: ['--tag', 'v2'], env: WITH_VARIABLE },
];

/** What the reference client tells in its magic attributes, which has no field of its own in a dump. */
function comparable(entry: DumpedEntry): Record<string, unknown> {
  const { hash, compression, chunks, rawlink, catalog, ...fields } = entry;
  if (entry.type === 'symlink') return { ...fields, magic: { rawlink: rawlink ?? entry.target } };
  if (entry.type !== 'file') return fields;
  const magic = {
    ...(hash === undefined ? {} : { hash, lhash: hash }),
    chunks: String(chunks?.length ?? 1),
    compression,
    external_file: '0',
  };
  return { ...fields, magic };
}

const keyOf = (entry: FixtureEntry | DumpedEntry) => entry.path ?? `base64:${entry.path_b64}`;

function assertAgrees(dump: Dump, manifest: FixtureManifest): void {
  assert.equal(dump.fqrn, manifest.fqrn);
  assert.equal(dump.root_hash, manifest.root_hash);
  assert.equal(String(dump.revision), manifest.revision);
  const found = new Map(dump.entries.map((entry) => [keyOf(entry), comparable(entry)]));
  assert.deepEqual([...found.keys()].sort(), manifest.entries.map(keyOf).sort());
  for (const entry of manifest.entries) assert.deepEqual(found.get(keyOf(entry)), entry, keyOf(entry));
}

describe('repositories of the reference implementation', () => {
  for (const { name, manifest: file, args = [], env = {} } of CASES) {
    test(`dump agrees with ${name}/${file} in every field`, async (t) => {
      const manifest = fixtureManifest(name, file);
      const folder = unpackFixture(name, scratchFolder(t));
      const key = fixturePath(join(name, `${manifest.fqrn}.pub`));
      const dump = await thimbleJson<Dump>(['dump', folder, '--key', key, '--content', ...args], { env });
      assertAgrees(dump, manifest);
    });
  }
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
