import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { nodeHashing } from '../node/hashing.ts';
import { contentHashOf, HASH_ALGORITHMS } from './content-hash.ts';
import { formatManifest, type Manifest, parseManifest } from './manifest.ts';
import { formatSignedText } from './signed-text.ts';

const ROOT = 'ab205d7ffb4918cb5de51e41cfd0a63fc04e5497';
const OTHER = '28d94b83b7229b331fc601362b8e272e02665122-shake128';
const REQUIRED = [`C${ROOT}`, 'Rd41d8cd98f00b204e9800998ecf8427e', 'D240', 'S3', 'Na.example.org'];

async function parse(lines: readonly string[]): Promise<Manifest> {
  const bytes = await formatSignedText(nodeHashing, 'sha1', lines, () => new Uint8Array(256));
  return parseManifest(nodeHashing, bytes).manifest;
}

const safe = fc.nat(Number.MAX_SAFE_INTEGER);
const hash = fc
  .tuple(fc.constantFrom(...HASH_ALGORITHMS), fc.uint8Array({ minLength: 20, maxLength: 20 }))
  .map(([algorithm, digest]) => contentHashOf(algorithm, digest));
const maybeHash = fc.option(hash, { nil: undefined });
const anyManifest: fc.Arbitrary<Manifest> = fc.record({
  rootCatalog: hash,
  rootCatalogSizeBytes: safe,
  ttlSeconds: safe,
  revision: safe,
  garbageCollectable: fc.boolean(),
  hasAlternativePaths: fc.boolean(),
  fqrn: fc.constantFrom('a.example.org', 'sft.cern.ch'),
  certificate: maybeHash,
  history: maybeHash,
  publishedSeconds: fc.option(safe, { nil: undefined }),
  metainfo: maybeHash,
  reflog: maybeHash,
});

test('parseManifest() undoes formatManifest()', async () => {
  await fc.assert(
    fc.asyncProperty(anyManifest, async (manifest) => {
      assert.deepEqual(await parse(formatManifest(manifest)), { ...manifest });
    }),
  );
});

test('formatManifest() writes the fields in the order of the reference', () => {
  const manifest = fc.sample(anyManifest, { numRuns: 1, seed: 1 })[0]!;
  const present = { certificate: manifest.rootCatalog, history: manifest.rootCatalog, publishedSeconds: 1 };
  const lines = formatManifest({
    ...manifest,
    ...present,
    metainfo: manifest.rootCatalog,
    reflog: manifest.rootCatalog,
  });
  assert.equal(lines.map((line) => line[0]).join(''), 'CBRDSGANXHTMY');
});

test('parseManifest() reads a manifest with the required fields alone, in any order', async () => {
  assert.deepEqual(await parse([...REQUIRED].reverse()), {
    rootCatalog: ROOT,
    rootCatalogSizeBytes: 0,
    ttlSeconds: 240,
    revision: 3,
    garbageCollectable: false,
    hasAlternativePaths: false,
    fqrn: 'a.example.org',
    certificate: undefined,
    history: undefined,
    publishedSeconds: undefined,
    metainfo: undefined,
    reflog: undefined,
  });
});

test('parseManifest() ignores unknown letters, and takes the last of repeated ones', async () => {
  const manifest = await parse([...REQUIRED, 'Lwhatever', '', 'S4', `X${OTHER}`, 'Gyes', 'Ayes']);
  assert.equal(manifest.revision, 4);
  assert.equal(manifest.certificate, OTHER);
  assert.ok(manifest.garbageCollectable && manifest.hasAlternativePaths);
});

for (const letter of ['C', 'R', 'D', 'S', 'N']) {
  test(`parseManifest() refuses a manifest without ${letter}`, async () => {
    const lines = REQUIRED.filter((line) => !line.startsWith(letter));
    await assert.rejects(parse(lines), {
      name: 'ThimbleError',
      code: 'FORMAT',
      message: new RegExp(`field ${letter} `),
    });
  });
}

for (const line of [
  'Rd41d8cd98f00b204e9800998ecf8427f',
  'C',
  `C${ROOT}C`,
  'D-1',
  'S',
  'S9007199254740993',
  'B0x10',
  'Tnever',
  'X12',
  'H',
  'M-',
  `Y${ROOT} `,
]) {
  test(`parseManifest() refuses the line ${line}`, async () => {
    await assert.rejects(parse([...REQUIRED, line]), {
      name: 'ThimbleError',
      code: 'FORMAT',
      message: new RegExp(`field ${line[0]}`),
    });
  });
}
