import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, createReadStream, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describeTree } from '../../test/support/described-tree.ts';
import {
  type Descriptor,
  forPlatform,
  INDEX,
  LAYER,
  LayoutBuilder,
  layerOf,
  member,
  named,
} from '../../test/support/oci-layout.ts';
import { publisherRepository } from '../../test/support/publisher-repository.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { ImageChoice } from './oci-image.ts';
import { OciTree } from './oci-tree.ts';
import { TarTree } from './tar-tree.ts';

const layoutIn = (t: TestContext) => new LayoutBuilder(join(scratchFolder(t), 'layout'));
const pathsOf = async (tree: OciTree) => [...(await describeTree(tree)).keys()];
const oneFile = (name: string, content = 'x') => layerOf([member(name, { content })]);

function fails(action: Promise<unknown>, code: ErrorCode, message: RegExp): Promise<void> {
  return assert.rejects(action, { code, message });
}

/** Opens and reads all of it. */
async function read(path: string, choice: ImageChoice = {}): Promise<string[]> {
  return pathsOf(await OciTree.open(path, choice));
}

describe('OciTree reads', () => {
  test('one layer as the archive that it is', async (t) => {
    const layout = layoutIn(t);
    const layer = await layerOf([
      member('./', { mode: 0o711 }),
      member('./bin/', { mtimeNs: 5 }),
      member('./bin/tool', {
        content: 'tool',
        mode: 0o4755,
        uid: 3_000_000,
        xattrs: new Map([['security.capability' as never, Buffer.from([1, 0])]]),
      }),
      member('./bin/same', { type: 'hardlink', link: './bin/tool', mode: 0o4755, uid: 3_000_000 }),
      member('./link', { type: 'symlink', link: 'bin/tool', mode: 0o777 }),
      member('./null', { type: 'character', major: 1, minor: 3 }),
      member('./pipe', { type: 'fifo' }),
    ]);
    layout.index([layout.image([layer])]);
    const file = join(layout.folder, 'layer.tar');
    writeFileSync(file, layer);
    const expected = await describeTree(new TarTree(createReadStream(file), 'layer'));
    const actual = await describeTree(await OciTree.open(layout.folder));
    // An archive tells attributes of hard links once more; here they are those of the file.
    const { xattrs } = expected.get('/bin/tool')!;
    expected.set('/bin/same', { ...expected.get('/bin/same')!, xattrs });
    assert.deepEqual(actual, expected);
  });

  for (const [what, layerType, manifestType] of [
    ['plain', LAYER, undefined],
    ['gzip', `${LAYER}+gzip`, undefined],
    ['zstd', `${LAYER}+zstd`, undefined],
    [
      'Docker',
      'application/vnd.docker.image.rootfs.diff.tar.gzip',
      'application/vnd.docker.distribution.manifest.v2+json',
    ],
  ] as const) {
    test(`${what} layers, also from an archive of the layout`, async (t) => {
      const layout = layoutIn(t);
      const layers = [await oneFile('a'), await layerOf([member('.wh.a'), member('b')])];
      const options = { layerType, ...(manifestType === undefined ? {} : { manifestType }) };
      layout.index([layout.image(layers, options)]);
      assert.deepEqual(await read(layout.folder), ['/b']);
      const archive = `${layout.folder}.tar`;
      execFileSync('tar', ['-cf', archive, '-C', layout.folder, '.']);
      assert.deepEqual(await read(archive), ['/b']);
    });
  }

  /** Ignored by all who read zstd. */
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
  for (const [compression, pack, between] of [
    ['gzip', gzipSync, Buffer.alloc(0)],
    ['zstd', zstdCompressSync, skippable],
  ] as const) {
    test(`a layer of several ${compression} streams`, async (t) => {
      const layout = layoutIn(t);
      const layer = await oneFile('a', 'x'.repeat(5000));
      const image = layout.image([layer], { layerType: `${LAYER}+${compression}` });
      const manifest = JSON.parse(readFileSync(layout.pathOf(image.digest), 'utf8'));
      const blob = Buffer.concat([pack(layer.subarray(0, 700)), between, pack(layer.subarray(700)), between]);
      manifest.layers = [layout.blob(`${LAYER}+${compression}`, blob)];
      layout.index([layout.json(image.mediaType, manifest)]);
      assert.deepEqual(await read(layout.folder), ['/a']);
    });
  }

  test('the content of files from the layer they are of, each stored once', async (t) => {
    const layout = layoutIn(t);
    const layers = [
      await layerOf([member('a', { content: 'first' }), member('gone', { content: 'never stored' })]),
      await layerOf([
        member('a', { content: 'second' }),
        member('.wh.gone'),
        member('b', { type: 'hardlink', link: 'a' }),
      ]),
    ];
    layout.index([layout.image(layers)]);
    const repository = await publisherRepository(memoryScratch(t));
    const before = repository.objects().length;
    const result = await repository.publish(await OciTree.open(layout.folder));
    const described = await repository.read();
    assert.match(described.get('/a')!.content!, /^6 bytes/);
    assert.deepEqual(described.get('/b')!.links, ['/a', '/b']);
    // One content, a catalog, a history.
    assert.deepEqual([result.newObjects >= 1, repository.objects().length - before], [true, 3]);
  });
});

describe('OciTree chooses', () => {
  async function several(
    t: TestContext,
  ): Promise<{ layout: LayoutBuilder; images: Record<string, Descriptor> }> {
    const layout = layoutIn(t);
    const images: Record<string, Descriptor> = {};
    for (const [architecture, variant] of [['amd64'], ['arm64', 'v8'], ['arm', 'v7']] as const) {
      images[architecture] = layout.image([await oneFile(architecture)], { architecture, variant });
    }
    return { layout, images };
  }

  test('an image by its name', async (t) => {
    const { layout, images } = await several(t);
    layout.index([named(images['amd64']!, 'one'), named(images['arm64']!, 'example.org/two:latest')]);
    assert.deepEqual(await read(layout.folder, { ref: 'one' }), ['/amd64']);
    assert.deepEqual(await read(layout.folder, { ref: 'example.org/two:latest' }), ['/arm64']);
    await fails(read(layout.folder), 'USAGE', /there are several/);
    await fails(read(layout.folder, { ref: 'three' }), 'NOT_FOUND', /Cannot find image three/);
  });

  test('an image by its platform, also in nested indexes, and never an attestation', async (t) => {
    const { layout, images } = await several(t);
    const nested = layout.json(INDEX, {
      schemaVersion: 2,
      manifests: [
        {
          ...forPlatform(images['amd64']!, 'unknown'),
          annotations: { 'vnd.docker.reference.type': 'attestation-manifest' },
        },
        forPlatform(images['arm64']!, 'arm64', 'v8'),
        forPlatform(images['arm']!, 'arm', 'v7'),
      ],
    });
    layout.index([named(nested, 'latest'), named(forPlatform(images['amd64']!, 'amd64'), 'latest')]);
    for (const [platform, expected] of [
      ['linux/arm64', '/arm64'],
      ['linux/arm64/v8', '/arm64'],
      ['linux/arm/v7', '/arm'],
      ['linux/amd64', '/amd64'],
    ] as const) {
      assert.deepEqual(await read(layout.folder, { platform, ref: 'latest' }), [expected]);
    }
    await fails(read(layout.folder, { platform: 'linux/arm/v6' }), 'NOT_FOUND', /for linux\/arm\/v6/);
    await fails(read(layout.folder, { platform: 'linux' }), 'USAGE', /"linux" as a platform/);
  });

  test('the only image, whatever it is for, unless something else is asked for', async (t) => {
    const { layout, images } = await several(t);
    layout.index([images['arm']!]);
    assert.deepEqual(await read(layout.folder), ['/arm']);
    await fails(
      read(layout.folder, { platform: 'linux/amd64' }),
      'NOT_FOUND',
      /is for linux\/arm\/v7, not linux\/amd64/,
    );
  });
});

describe('OciTree refuses', () => {
  type Damage = (layout: LayoutBuilder, image: Descriptor, blob: string) => void;
  const rewrite = (
    layout: LayoutBuilder,
    image: Descriptor,
    change: (manifest: Record<string, never>) => object,
  ) => {
    const manifest = JSON.parse(readFileSync(layout.pathOf(image.digest), 'utf8'));
    layout.index([layout.json(image.mediaType, { ...manifest, ...change(manifest) })]);
  };
  const cases: readonly [what: string, code: ErrorCode, message: RegExp, damage: Damage][] = [
    [
      'a changed byte',
      'INTEGRITY',
      /hashes to sha256|hashes to [0-9a-f]{64}/,
      (_, _image, blob) => {
        const bytes = readFileSync(blob);
        bytes[30]! ^= 1;
        writeFileSync(blob, bytes);
      },
    ],
    [
      'a byte too many',
      'INTEGRITY',
      /has \d+ bytes, \d+ expected/,
      (_, _image, blob) => appendFileSync(blob, 'x'),
    ],
    ['a layer cut short', 'INTEGRITY', /has 20 bytes/, (_, _image, blob) => truncateSync(blob, 20)],
    [
      'a layer that is not there',
      'NOT_FOUND',
      /Cannot find blobs\/sha256\//,
      (_, _image, blob) => rmSync(blob),
    ],
    [
      'a changed manifest',
      'INTEGRITY',
      /hashes to/,
      (layout, { digest }) => {
        writeFileSync(
          layout.pathOf(digest),
          readFileSync(layout.pathOf(digest), 'utf8').replace('"layers"', '"Layers"'),
        );
      },
    ],
    [
      'a manifest that is none',
      'FORMAT',
      /Cannot read sha256:.*layers/,
      (layout, image) => layout.index([layout.json(image.mediaType, { schemaVersion: 2 })]),
    ],
    [
      'a folder without index',
      'NOT_FOUND',
      /Cannot find index\.json/,
      ({ folder }) => rmSync(join(folder, 'index.json')),
    ],
    [
      'an index that is no JSON',
      'FORMAT',
      /Cannot read index\.json/,
      ({ folder }) => writeFileSync(join(folder, 'index.json'), '{'),
    ],
    [
      'a layout of another version',
      'FORMAT',
      /oci-layout.*imageLayoutVersion/,
      ({ folder }) => writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}'),
    ],
    [
      'a folder that is no layout',
      'NOT_FOUND',
      /Cannot find oci-layout/,
      ({ folder }) => rmSync(join(folder, 'oci-layout')),
    ],
    ['no images', 'NOT_FOUND', /Cannot find an image/, (layout) => layout.index([])],
    [
      'an artifact that is no image',
      'UNSUPPORTED',
      /is no image but application\/vnd\.oci\.empty/,
      (layout, image) =>
        rewrite(layout, image, () => ({ config: layout.json('application/vnd.oci.empty.v1+json', {}) })),
    ],
    [
      'an unknown type of layer',
      'UNSUPPORTED',
      /type "application\/x"/,
      (layout, image) =>
        rewrite(layout, image, (manifest) => ({
          layers: [{ ...(manifest['layers']![0] as object), mediaType: 'application/x' }],
        })),
    ],
    [
      'an unknown hash',
      'UNSUPPORTED',
      /"md5:00": it is named by no/,
      (layout, image) =>
        rewrite(layout, image, (manifest) => ({
          layers: [{ ...(manifest['layers']![0] as object), digest: 'md5:00' }],
        })),
    ],
    [
      'a digest with a path in it',
      'UNSUPPORTED',
      /named by no known hash/,
      (layout, image) => layout.index([{ ...image, digest: 'sha256:../../etc/passwd' }]),
    ],
    [
      'more layers than hashes of their content',
      'FORMAT',
      /2 layers have 1 hashes/,
      (layout, image) =>
        rewrite(layout, image, (manifest) => ({ layers: [manifest['layers']![0], manifest['layers']![0]] })),
    ],
    [
      'too many layers',
      'LIMIT',
      /has 1025 layers/,
      (layout, image) =>
        rewrite(layout, image, (manifest) => ({ layers: Array(1025).fill(manifest['layers']![0]) })),
    ],
    [
      'indexes within indexes without end',
      'LIMIT',
      /nested too deeply/,
      (layout, image) => {
        let inner = image;
        for (let i = 0; i < 6; i++) inner = layout.json(INDEX, { schemaVersion: 2, manifests: [inner] });
        layout.index([inner]);
      },
    ],
    [
      'a document that is too large',
      'LIMIT',
      /index\.json of .* has 4194305 bytes/,
      ({ folder }) => truncateSync(join(folder, 'index.json'), 4 * 1024 * 1024 + 1),
    ],
    [
      'a layer that is packed in another way',
      'FORMAT',
      /it is not gzip to its end/,
      (layout, image) =>
        rewrite(layout, image, () => ({
          layers: [layout.blob(`${LAYER}+gzip`, Buffer.from('no gzip at all'))],
        })),
    ],
    [
      'a layer that unpacks to something else',
      'INTEGRITY',
      /it unpacks to sha256:/,
      (layout) =>
        layout.index([layout.image([Buffer.alloc(1024)], { diffIds: [`sha256:${'0'.repeat(64)}`] })]),
    ],
    [
      'bytes that are hidden behind the end of the archive',
      'INTEGRITY',
      /it unpacks to sha256:/,
      (layout, image) =>
        rewrite(layout, image, (manifest) => {
          const old = readFileSync(layout.pathOf((manifest['layers']![0] as Descriptor).digest));
          return { layers: [layout.blob(`${LAYER}+gzip`, Buffer.concat([old, gzipSync('more')]))] };
        }),
    ],
  ];
  for (const [what, code, message, damage] of cases) {
    test(what, async (t) => {
      const layout = layoutIn(t);
      const image = layout.image([await oneFile('a', 'content')]);
      layout.index([image]);
      const { layers } = JSON.parse(readFileSync(layout.pathOf(image.digest), 'utf8')) as {
        layers: Descriptor[];
      };
      assert.deepEqual(await read(layout.folder), ['/a']);
      damage(layout, image, layout.pathOf(layers[0]!.digest));
      await fails(read(layout.folder), code, message);
    });
  }

  test('a damaged image, and nothing of it is published', async (t) => {
    const layout = layoutIn(t);
    const layers = [await oneFile('a'), Buffer.alloc(1024)];
    layout.index([
      layout.image(layers, { diffIds: ['0', '1'].map((digit) => `sha256:${digit.repeat(64)}`) }),
    ]);
    const repository = await publisherRepository(memoryScratch(t));
    const { revision } = repository.manifest();
    const tree = await OciTree.open(layout.folder);
    await fails(repository.publish(tree), 'INTEGRITY', /it unpacks to/);
    assert.equal(repository.manifest().revision, revision);
  });

  test('what is not there', async (t) => {
    await fails(read(join(scratchFolder(t), 'nothing')), 'NOT_FOUND', /Cannot read .*nothing/);
  });
});
