import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { JumpingClock } from '../../test/support/fake-clock.ts';
import { type HashAlgorithm, hashBytes, objectPath } from '../core/content-hash.ts';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import type { Inflating } from '../core/ports.ts';
import type { ByteRange, ObjectNeed } from '../core/vfs.ts';
import { nodeHashing } from '../node/hashing.ts';
import { nodeInflating } from '../node/inflating.ts';
import {
  type CacheId,
  type CacheWriter,
  cacheIdOf,
  MemoryCache,
  type ObjectCache,
  putByWriter,
} from './cache.ts';
import { Servers } from './network/servers.ts';
import type { OpenOptions, Source, SourceFile } from './network/source.ts';
import { Objects, readWhole } from './objects.ts';

const MIB = 1024 * 1024;
const PIECE_BYTES = 64 * 1024;

/** Files in memory, handed out in pieces; counts what was asked for. */
class MemorySource implements Source {
  readonly name = 'memory';
  readonly files = new Map<string, Buffer>();
  readonly asked: string[] = [];
  readonly ranges: (ByteRange | undefined)[] = [];
  /** Requests wait for this before they are answered. */
  gate: Promise<void> = Promise.resolve();

  async open(path: string, { range }: OpenOptions): Promise<SourceFile> {
    this.asked.push(path);
    this.ranges.push(range);
    await this.gate;
    const whole = this.files.get(path);
    if (whole === undefined) throw new ThimbleError('NOT_FOUND', `Cannot get ${path}`);
    const content = range === undefined ? whole : whole.subarray(range.offset, range.offset + range.length);
    let at = 0;
    return {
      sizeBytes: content.length,
      next: async () => {
        if (at >= content.length) return undefined;
        const piece = content.subarray(at, at + PIECE_BYTES);
        at += PIECE_BYTES;
        return piece;
      },
      close: () => {},
    };
  }
}

/** A disk that fails when it is told to. */
class FailingCache implements ObjectCache {
  readonly inner = new MemoryCache(1e9);
  failing: 'create' | 'write' | 'commit' | undefined;
  aborted = 0;

  read(id: CacheId, position: number, length: number, into: Uint8Array, at: number) {
    return this.inner.read(id, position, length, into, at);
  }
  load(id: CacheId) {
    return this.inner.load(id);
  }
  has(id: CacheId) {
    return this.inner.has(id);
  }
  put(id: CacheId, content: Uint8Array): void {
    putByWriter(this, id, content);
  }

  create(id: CacheId): CacheWriter {
    const check = (step: 'create' | 'write' | 'commit') => {
      if (this.failing === step) throw new ThimbleError('STORAGE', `The disk fails in ${step}`);
    };
    check('create');
    const writer = this.inner.create(id);
    return {
      write: (chunk) => {
        check('write');
        writer.write(chunk);
      },
      commit: () => {
        check('commit');
        writer.commit();
      },
      abort: () => {
        this.aborted++;
        writer.abort();
      },
    };
  }
}

function setUp(inflating: Inflating = nodeInflating) {
  const source = new MemorySource();
  const cache = new FailingCache();
  const clock = new JumpingClock();
  const servers = new Servers([source], { clock, random: { fraction: () => 0 } });
  const objects = new Objects(servers, cache, { hashing: nodeHashing, inflating });
  /** Objects that know a server of external data too. */
  const withExternal = () => {
    const external = new MemorySource();
    const ports = { clock, random: { fraction: () => 0 } };
    const known = { hashing: nodeHashing, inflating, external: new Servers([external], ports) };
    return { external, objects: new Objects(servers, cache, known) };
  };
  return { source, cache, servers, objects, withExternal };
}

interface Publishing {
  readonly compression?: 'zlib' | 'none';
  readonly algorithm?: HashAlgorithm;
  readonly type?: ObjectNeed['type'];
}

/** Puts an object on the server and says what to ask for. */
function publish(
  source: MemorySource,
  content: Uint8Array,
  { compression = 'zlib', algorithm = 'shake128', type = '' }: Publishing = {},
): ObjectNeed {
  const stored = compression === 'zlib' ? deflateSync(content) : Buffer.from(content);
  const hash = hashBytes(nodeHashing, algorithm, stored);
  source.files.set(objectPath(hash, type), stored);
  return { kind: 'object', hash, type, compression, sizeBytes: content.length, label: '/a/file' };
}

function contentOf(objects: Objects, need: ObjectNeed): Buffer | undefined {
  const into = Buffer.alloc(need.sizeBytes + 10);
  const count = objects.read(cacheIdOf(need.hash, need.compression), 0, into.length, into, 0);
  return count === undefined ? undefined : into.subarray(0, count);
}

const SIZES = [
  ['small', 1_000],
  ['large', 3 * MIB],
] as const;

for (const [what, sizeBytes] of SIZES) {
  for (const compression of ['zlib', 'none'] as const) {
    test(`fetch() brings a ${what} object stored as ${compression}, and shows it only then`, async () => {
      const { source, objects } = setUp();
      const content = Buffer.alloc(sizeBytes, 'some content, ');
      const need = publish(source, content, { compression });
      assert.equal(contentOf(objects, need), undefined);
      await objects.fetch(need);
      assert.ok(contentOf(objects, need)!.equals(content));
      await objects.fetch(need);
      assert.equal(source.asked.length, 1, 'what is here is not asked for');
    });

    test(`fetch() verifies a ${what} object stored as ${compression} before anybody sees it`, async () => {
      const { source, cache, objects } = setUp();
      const content = Buffer.alloc(sizeBytes, 'some content, ');
      const need = publish(source, content, { compression });
      const path = objectPath(need.hash, need.type);
      const stored = source.files.get(path)!;
      const damages: readonly (readonly [string, Buffer])[] = [
        [
          'another object',
          compression === 'zlib' ? deflateSync(content.fill('X', 0, 1)) : content.fill('X', 0, 1),
        ],
        ['a changed last byte', Buffer.concat([stored.subarray(0, -1), Buffer.of(stored.at(-1)! ^ 1)])],
        ['a missing end', stored.subarray(0, -1)],
        ['a longer end', Buffer.concat([stored, Buffer.from('x')])],
        ['nothing', Buffer.alloc(0)],
        ['HTML', Buffer.from('<html>Please sign in</html>')],
        ['an endless body', Buffer.alloc(2 * sizeBytes + 10_000, 'x')],
      ];
      for (const [damage, bytes] of damages) {
        source.files.set(path, Buffer.from(bytes));
        await assert.rejects(objects.fetch(need), (error: ThimbleError) => {
          assert.ok(['INTEGRITY', 'FORMAT', 'LIMIT'].includes(error.code), `${damage}: ${error.code}`);
          return true;
        });
        assert.equal(contentOf(objects, need), undefined, damage);
        assert.equal(cache.has(cacheIdOf(need.hash, compression)), false, damage);
      }
      source.files.set(path, stored);
      await objects.fetch(need);
    });
  }

  for (const [how, difference] of [
    ['longer', -1],
    ['shorter', +1],
  ] as const) {
    test(`fetch() refuses a ${what} object that is ${how} than the catalog says`, async () => {
      const { source, objects } = setUp();
      const need = publish(source, Buffer.alloc(sizeBytes, 'x'));
      const wrong = { ...need, sizeBytes: need.sizeBytes + difference };
      await assert.rejects(objects.fetch(wrong), (error: ThimbleError) =>
        ['INTEGRITY', 'LIMIT'].includes(error.code),
      );
      assert.equal(contentOf(objects, need), undefined);
    });
  }

  test(`fetch() does not inflate a bomb in place of a ${what} object`, async () => {
    let inflatedBytes = 0;
    const { source, objects } = setUp({
      ...nodeInflating,
      createInflater: () => {
        const inflater = nodeInflating.createInflater();
        const push = async (chunk: Uint8Array) => {
          const content = await inflater.push(chunk);
          inflatedBytes += content.length;
          return content;
        };
        return { ...inflater, push };
      },
    });
    // Well named: its hash is right, only what comes out is a thousand times what the catalog says.
    const bomb = publish(source, Buffer.alloc(256 * MIB));
    await assert.rejects(objects.fetch({ ...bomb, sizeBytes }), (error: ThimbleError) =>
      ['INTEGRITY', 'LIMIT'].includes(error.code),
    );
    // Deflate yields at most 1032 times what goes in; damaged data is asked for twice.
    assert.ok(inflatedBytes <= 2 * 1032 * PIECE_BYTES, 'no more than the first piece was inflated');
  });

  test(`fetch() asks for a ${what} object once when many want it`, async () => {
    const { source, objects } = setUp();
    const need = publish(source, Buffer.alloc(sizeBytes, 'x'));
    let open = () => {};
    source.gate = new Promise((resolve) => {
      open = resolve;
    });
    const fetching = Array.from({ length: 10 }, () => objects.fetch(need));
    open();
    await Promise.all(fetching);
    assert.equal(source.asked.length, 1);
  });

  for (const step of ['create', 'write', 'commit'] as const) {
    test(`fetch() keeps a ${what} object in memory when the disk fails in ${step}`, async () => {
      const { source, cache, objects } = setUp();
      const content = Buffer.alloc(sizeBytes, 'some content, ');
      const need = publish(source, content);
      cache.failing = step;
      await objects.fetch(need);
      assert.ok(contentOf(objects, need)!.equals(content));
      assert.equal(objects.storageFailures, 1);
      assert.equal(cache.aborted, step === 'create' ? 0 : 1);
    });
  }
}

test('fetch() asks again after a failure, which all who waited have seen', async () => {
  const { source, objects } = setUp();
  const need = publish(source, Buffer.from('content'));
  const path = objectPath(need.hash, need.type);
  const stored = source.files.get(path)!;
  source.files.delete(path);
  const outcomes = await Promise.allSettled([objects.fetch(need), objects.fetch(need)]);
  for (const outcome of outcomes) {
    assert.equal(outcome.status === 'rejected' && (outcome.reason as ThimbleError).code, 'NOT_FOUND');
  }
  source.files.set(path, stored);
  await objects.fetch(need);
  assert.equal(contentOf(objects, need)!.toString(), 'content');
});

test('fetch() does not keep objects in memory that are too large for it', async () => {
  const { source, cache, objects } = setUp();
  cache.failing = 'create';
  const need = { ...publish(source, Buffer.from('x')), sizeBytes: 65 * MIB };
  await assert.rejects(objects.fetch(need), { code: 'STORAGE' });
});

test('fetch() brings any content, by any hash and compression', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 3_000 }),
      fc.constantFrom('sha1', 'rmd160', 'shake128'),
      fc.constantFrom('zlib', 'none'),
      fc.constantFrom('', 'P'),
      async (content, algorithm, compression, type) => {
        const { source, objects } = setUp();
        const need = publish(source, content, { algorithm, compression, type });
        await objects.fetch(need);
        assert.ok(contentOf(objects, need)!.equals(content));
        assert.deepEqual(source.asked, [objectPath(need.hash, type)]);
      },
    ),
    { numRuns: 50 },
  );
});

// ---- metadata ----

test('load() gives the content of a metadata object, from the servers once', async () => {
  const { source, objects } = setUp();
  const { hash } = publish(source, Buffer.from('a catalog'), { type: 'C' });
  for (let i = 0; i < 2; i++) {
    assert.equal(Buffer.from(await objects.load(hash, 'C', 100, 'catalog')).toString(), 'a catalog');
  }
  assert.deepEqual(source.asked, [objectPath(hash, 'C')]);
});

test('load() asks once when many want the same', async () => {
  const { source, objects } = setUp();
  const { hash } = publish(source, Buffer.from('a catalog'), { type: 'C' });
  const loads = Array.from({ length: 10 }, () => objects.load(hash, 'C', 100, 'catalog'));
  for (const bytes of await Promise.all(loads)) assert.equal(Buffer.from(bytes).toString(), 'a catalog');
  assert.equal(source.asked.length, 1);
});

const BAD_METADATA: readonly (readonly [string, ErrorCode, (stored: Buffer) => Buffer])[] = [
  [
    'that is damaged',
    'INTEGRITY',
    (stored) => Buffer.concat([stored.subarray(0, -1), Buffer.of(stored.at(-1)! ^ 1)]),
  ],
  ['that is cut off', 'INTEGRITY', (stored) => stored.subarray(0, 5)],
  ['that does not end', 'LIMIT', () => Buffer.alloc(MIB)],
];

for (const [what, code, damage] of BAD_METADATA) {
  test(`load() refuses an object ${what} with ${code}, and keeps nothing of it`, async () => {
    const { source, cache, objects } = setUp();
    const { hash } = publish(source, Buffer.from('a catalog'), { type: 'C' });
    const path = objectPath(hash, 'C');
    source.files.set(path, damage(source.files.get(path)!));
    await assert.rejects(objects.load(hash, 'C', 1_000, 'catalog of /usr'), { code });
    assert.equal(cache.has(cacheIdOf(hash, 'zlib')), false);
  });
}

test('load() refuses an object that inflates to more than the limit', async () => {
  const { source, objects } = setUp();
  const { hash } = publish(source, Buffer.alloc(64 * MIB), { type: 'C' });
  await assert.rejects(objects.load(hash, 'C', MIB, 'catalog'), { code: 'LIMIT' });
});

test('load() refuses content that is well named and no zlib stream', async () => {
  const { source, objects } = setUp();
  const { hash } = publish(source, Buffer.from('plain'), { type: 'C', compression: 'none' });
  await assert.rejects(objects.load(hash, 'C', MIB, 'catalog'), { code: 'FORMAT' });
});

test('content that is put into the cache later is there at once for whoever reads', async () => {
  const { source, cache, servers } = setUp();
  const waiting: (() => void)[] = [];
  const later = (work: () => void) => void waiting.push(work);
  const objects = new Objects(servers, cache, { hashing: nodeHashing, inflating: nodeInflating, later });
  const file = publish(source, Buffer.from('content of a file'));
  const other = publish(source, Buffer.from('metadata'), { type: 'H' });
  await objects.fetch(file);
  assert.equal(contentOf(objects, file)?.toString(), 'content of a file');
  assert.equal((await objects.load(other.hash, 'H', 100, 'history')).toString(), 'metadata');
  assert.deepEqual([cache.inner.has(cacheIdOf(file.hash, 'zlib')), waiting.length], [false, 1]);
  await Promise.all([objects.fetch(file), objects.load(other.hash, 'H', 100, 'history')]);
  assert.deepEqual([source.asked.length, objects.has(other.hash)], [2, true]);
  for (const work of waiting) work();
  assert.ok([file, other].every(({ hash }) => cache.inner.has(cacheIdOf(hash, 'zlib'))));
  assert.equal(contentOf(objects, file)?.toString(), 'content of a file');
});

test('content that could not be put into the cache later stays in memory', async () => {
  const { source, cache, servers } = setUp();
  const later = (work: () => void) => void setImmediate(work);
  const objects = new Objects(servers, cache, { hashing: nodeHashing, inflating: nodeInflating, later });
  const need = publish(source, Buffer.from('content'));
  cache.failing = 'commit';
  await objects.fetch(need);
  objects.flush();
  assert.equal(contentOf(objects, need)?.toString(), 'content');
  assert.deepEqual([objects.storageFailures, cache.aborted], [1, 1]);
});

test('load() goes on when the disk fails', async () => {
  const { source, cache, objects } = setUp();
  const { hash } = publish(source, Buffer.from('a catalog'), { type: 'C' });
  cache.failing = 'commit';
  for (let i = 0; i < 2; i++) {
    assert.equal(Buffer.from(await objects.load(hash, 'C', 100, 'catalog')).toString(), 'a catalog');
  }
  assert.equal(source.asked.length, 1, 'memory keeps it');
});

test('errors of objects name what they are for', async () => {
  const { source, objects } = setUp();
  const need = publish(source, Buffer.from('content'));
  const path = objectPath(need.hash, need.type);
  source.files.set(path, deflateSync(Buffer.from('CONTENT')));
  await assert.rejects(objects.fetch(need), (error: ThimbleError) => {
    assert.equal(error.code, 'INTEGRITY');
    assert.match(error.message, /\/a\/file/);
    assert.equal(error.details['wanted'], need.hash);
    return true;
  });
});

test('readWhole() takes exactly the limit and not a byte more', async () => {
  const pieces = (...texts: string[]): SourceFile => {
    const chunks = texts.map((text) => Buffer.from(text));
    return { sizeBytes: undefined, next: async () => chunks.shift(), close: () => {} };
  };
  assert.equal(Buffer.from(await readWhole(pieces('he', 'llo'), 5)).toString(), 'hello');
  assert.equal((await readWhole(pieces(), 0)).length, 0);
  await assert.rejects(readWhole(pieces('he', 'llo', '!'), 5), { code: 'LIMIT' });
});

for (const sizeBytes of [1000, 3 * MIB]) {
  test(`external content of ${sizeBytes} bytes comes from the external server by path, is verified and cached`, async () => {
    const { source, withExternal } = setUp();
    const { external, objects } = withExternal();
    const content = Buffer.alloc(sizeBytes, 'external ');
    const own = publish(source, content, { compression: 'none' });
    const need: ObjectNeed = { ...own, external: { path: 'sub/with%20space', range: undefined } };
    external.files.set('sub/with%20space', Buffer.alloc(sizeBytes, 'wrong '));
    await assert.rejects(objects.fetch(need), { code: 'INTEGRITY' });
    external.files.set('sub/with%20space', content);
    await objects.fetch(need);
    await objects.fetch(need);
    const read = Buffer.alloc(sizeBytes);
    assert.equal(objects.read(cacheIdOf(need.hash, 'none'), 0, sizeBytes, read, 0), sizeBytes);
    assert.ok(read.equals(content));
    // Twice for the wrong content, the second time past caches; the repository's own servers never.
    assert.equal(external.asked.length, 3);
    assert.deepEqual(source.asked, []);
  });
}

test('chunks of external content are asked for as ranges of its file', async () => {
  const { withExternal } = setUp();
  const { external, objects } = withExternal();
  const whole = Buffer.from('0123456789');
  external.files.set('a', whole);
  const range = { offset: 3, length: 4 };
  const hash = hashBytes(nodeHashing, 'sha1', whole.subarray(3, 7));
  await objects.fetch({
    kind: 'object',
    hash,
    type: 'P',
    compression: 'none',
    sizeBytes: 4,
    label: '/a',
    external: { path: 'a', range },
  });
  assert.deepEqual(external.ranges, [range]);
});

test('external content is UNSUPPORTED where no server of it is known', async () => {
  const { source, objects } = setUp();
  const need = { ...publish(source, Buffer.from('x')), external: { path: 'a', range: undefined } };
  await assert.rejects(objects.fetch(need), {
    code: 'UNSUPPORTED',
    message: /\/a\/file.*external/,
    hint: /--external-server/,
  });
  assert.deepEqual(source.asked, []);
});
