import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Manifest } from '../core/manifest.ts';
import { Metainfo } from './metainfo.ts';

const HASH = 'ab'.repeat(20) as ContentHash;

function setUp(manifest: Partial<Manifest> | undefined, load: () => Promise<Uint8Array>) {
  const loaded: unknown[] = [];
  const metainfo = new Metainfo(
    { manifest: manifest as Manifest | undefined },
    {
      load: (...args) => {
        loaded.push(args.slice(0, 2));
        return load();
      },
    },
  );
  return { metainfo, loaded };
}

for (const [what, manifest, text] of [
  ['without a manifest', undefined, 'manifest not available'],
  ['of a manifest that names none', { metainfo: undefined }, 'metainfo not available'],
] as const) {
  test(`${what} there is no metainfo, and nothing is asked for`, () => {
    const { metainfo, loaded } = setUp(manifest, () => assert.fail('it was asked for'));
    assert.equal(metainfo.value(), text);
    assert.deepEqual(loaded, []);
  });
}

test('metainfo is fetched once, by the first who asks', async () => {
  const { metainfo, loaded } = setUp({ metainfo: HASH }, async () => Buffer.from('{"a": "ü"}'));
  await metainfo.value();
  assert.equal(metainfo.value(), '{"a": "ü"}');
  assert.equal(metainfo.value(), '{"a": "ü"}');
  assert.deepEqual(loaded, [[HASH, 'M']]);
});

test('a failure is told, and the next one who asks tries again', async () => {
  let isWell = false;
  const { metainfo } = setUp({ metainfo: HASH }, async () => {
    if (isWell) return Buffer.from('well');
    throw new ThimbleError('NETWORK', 'Cannot get it');
  });
  await metainfo.value();
  assert.equal(metainfo.value(), 'metainfo not available: Cannot get it');
  isWell = true;
  await metainfo.value();
  assert.equal(metainfo.value(), 'well');
});
