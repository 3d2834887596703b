/** The trees of the golden repositories, published here, are the same in every field: also hashes, and where files are cut. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DumpedEntry } from '../../src/cli/dump-entries.ts';
import { fixtureManifest, fixturePath, unpackFixture } from '../support/fixtures.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimbleJson } from '../support/thimble.ts';

interface Dump {
  readonly entries: readonly DumpedEntry[];
}

const FQRN = 'again.example.org';

/** Settings of the publisher of the golden repositories. */
const CHUNKS = ['--chunks', '32k,64k,128k'];
const CASES = [
  { name: 'basic', settings: ['--hash', 'sha1'] },
  { name: 'shake128', settings: ['--hash', 'shake128'] },
  { name: 'nocompress', settings: ['--hash', 'sha1', '--compression', 'none'] },
];

/**
 * Hashes of compressed objects depend on the compressor. A directory has no size of its own, and a catalog's marker and its
 * hash are what they are; everything else has to be the same.
 */
function comparable(entry: DumpedEntry): Record<string, unknown> {
  const { hash, chunks, catalog, size, ...fields } = entry;
  const cuts = chunks?.map((chunk) => [chunk.offset, chunk.size]);
  return {
    ...fields,
    ...(entry.type === 'dir' ? {} : { size }),
    cuts,
    isCatalogRoot: catalog !== undefined,
    ...(entry.compression === 'none' ? { hash, chunks } : {}),
  };
}

for (const { name, settings } of CASES) {
  test(`the tree of ${name}, published again, dumps identically`, needs('root', 'attr'), async (t) => {
    const scratch = scratchFolder(t);
    const golden = unpackFixture(name, scratch);
    const key = fixturePath(join(name, `${fixtureManifest(name).fqrn}.pub`));
    const tree = join(scratch, 'tree');
    await thimbleJson(['export', golden, '--key', key, '--format', 'dir', '--output', tree]);
    const config = ['--config', join(scratch, 'config')];
    const storage = join(scratch, FQRN);
    await thimbleJson([...config, 'repo', 'create', FQRN, '--storage', storage, ...settings, ...CHUNKS]);
    await thimbleJson([...config, 'publish', FQRN, tree]);
    const publicKey = join(scratch, 'config/repositories', FQRN, `${FQRN}.pub`);
    const dump = (place: string, keyFile: string) =>
      thimbleJson<Dump>(['dump', place, '--key', keyFile, '--content']);
    const [before, after] = [await dump(golden, key), await dump(storage, publicKey)];
    assert.ok(before.entries.length > 60, `${before.entries.length} entries`);
    assert.deepEqual(after.entries.map(comparable), before.entries.map(comparable));
  });
}
