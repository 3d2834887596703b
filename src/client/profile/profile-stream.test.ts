import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateSync } from 'node:zlib';
import { type ContentHash, hashBytes, objectPath } from '../../core/content-hash.ts';
import { ThimbleError } from '../../core/errors.ts';
import type { Pack } from '../../core/profile-index.ts';
import { type PackedObject, placeObjects } from '../../core/profile-table.ts';
import type { ByteRange } from '../../core/vfs.ts';
import { nodeHashing } from '../../node/hashing.ts';
import { nodeInflating } from '../../node/inflating.ts';
import type { Consume } from '../network/wish.ts';
import { ProfileStream, type ProfileStreamOptions, planStretches } from './profile-stream.ts';

const KIB = 1024;

/** Contents that do not compress, so that sizes say something. */
function content(seed: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Packs in memory, and a server that hands them out in pieces. */
class PackServer {
  readonly files = new Map<string, Buffer>();
  readonly asked: (ByteRange | undefined)[] = [];
  pieceBytes = 10_000;
  /** Called before each piece; may throw. */
  onPiece: (sentBytes: number) => void = () => {};

  async fetch<T>(path: string, consume: Consume<T>, range?: ByteRange): Promise<T> {
    this.asked.push(range);
    const whole = this.files.get(path);
    if (whole === undefined) throw new ThimbleError('NOT_FOUND', 'no such pack');
    const bytes = range === undefined ? whole : whole.subarray(range.offset, range.offset + range.length);
    let at = 0;
    const file = {
      sizeBytes: bytes.length,
      next: async () => {
        this.onPiece(at);
        if (at >= bytes.length) return undefined;
        at += this.pieceBytes;
        return bytes.subarray(at - this.pieceBytes, at);
      },
      close: () => {},
    };
    return consume(file, Number.POSITIVE_INFINITY);
  }
}

interface Scene {
  readonly server: PackServer;
  readonly packs: readonly Pack[];
  readonly contents: readonly Buffer[];
  readonly wanted: Uint8Array;
  readonly delivered: Map<number, Buffer>;
  readonly stream: ProfileStream;
  readonly paths: readonly string[];
}

/** One pack for each list of sizes. */
function scene(sizes: readonly (readonly number[])[], more: Partial<ProfileStreamOptions> = {}): Scene {
  const server = new PackServer();
  const objects: PackedObject[] = [];
  const contents: Buffer[] = [];
  const packs = sizes.map((lengths) => {
    const stored = lengths.map((length) => {
      const isPlain = contents.length % 3 === 0;
      const bytes = content(contents.length + 1, length);
      const kept = isPlain ? bytes : deflateSync(bytes);
      objects.push({
        hash: hashBytes(nodeHashing, 'shake128', kept),
        type: '',
        compression: isPlain ? 'none' : 'zlib',
        storedBytes: kept.length,
        sizeBytes: length,
      });
      contents.push(bytes);
      return kept;
    });
    const pack = Buffer.concat(stored);
    const hash = hashBytes(nodeHashing, 'shake128', pack);
    server.files.set(objectPath(hash, ''), pack);
    return { hash, sizeBytes: pack.length };
  });
  const wanted = new Uint8Array(objects.length).fill(1);
  const delivered = new Map<number, Buffer>();
  const stream = new ProfileStream({
    servers: server,
    hashing: nodeHashing,
    inflating: nodeInflating,
    places: placeObjects(objects, packs),
    packs,
    wanted,
    deliver: async (index, bytes) => void delivered.set(index, Buffer.from(bytes)),
    ...more,
  });
  return { server, packs, contents, wanted, delivered, stream, paths: [...server.files.keys()] };
}

test('every object arrives, in order, with one request for each pack', async () => {
  const { stream, delivered, contents, server } = scene([[50_000, 7, 30_000], [200_000]]);
  await stream.run();
  assert.deepEqual([...delivered.keys()], [0, 1, 2, 3]);
  for (const [index, bytes] of delivered) assert.ok(bytes.equals(contents[index]!));
  assert.deepEqual(server.asked, [undefined, undefined]);
  assert.equal(stream.counters.damaged, 0);
});

test('pieces of any size make the same objects', async () => {
  for (const pieceBytes of [1, 977, 1_000_000]) {
    const { stream, delivered, contents, server } = scene([[3000, 1, 4000]]);
    server.pieceBytes = pieceBytes;
    await stream.run();
    for (const [index, bytes] of contents.entries()) assert.ok(delivered.get(index)!.equals(bytes));
  }
});

test('only the stretches are fetched in which something is missing', async () => {
  const { stream, wanted, delivered, server } = scene([
    [300 * KIB, 300 * KIB, 1000, 1000, 300 * KIB, 300 * KIB],
  ]);
  wanted.set([0, 1, 1, 0, 0, 1]);
  await stream.run();
  assert.deepEqual([...delivered.keys()], [1, 2, 5]);
  assert.equal(server.asked.length, 2);
  assert.equal(server.asked[0]!.offset, 300 * KIB);
});

test('small gaps are fetched along, and nothing at all where nothing is missing', async () => {
  const { stream, wanted, delivered, server } = scene([[1000, 1000, 1000], [1000]]);
  wanted.set([1, 0, 1, 0]);
  await stream.run();
  assert.deepEqual([...delivered.keys()], [0, 2]);
  assert.deepEqual(server.asked, [undefined]);
});

test('what is crossed out on the way is not handed on', async () => {
  const { stream, wanted, delivered, server } = scene([[50_000, 50_000, 50_000]]);
  server.onPiece = (sent) => {
    if (sent > 0) wanted[2] = 0;
  };
  await stream.run();
  assert.deepEqual([...delivered.keys()], [0, 1]);
});

test('an object that is damaged in its pack is left out, and those behind it arrive', async () => {
  const { stream, server, delivered, paths } = scene([[5000, 5000, 5000]]);
  server.files.get(paths[0]!)![7000]! ^= 1;
  await stream.run();
  assert.deepEqual([...delivered.keys()], [0, 2]);
  assert.equal(stream.counters.damaged, 1);
});

test('sizes of the table that are not true let nothing through', async () => {
  const stored = deflateSync(Buffer.alloc(1000));
  const hash = hashBytes(nodeHashing, 'sha1', stored);
  for (const sizeBytes of [999, 1001]) {
    const server = new PackServer();
    server.files.set(objectPath(hash, ''), stored);
    const packs = [{ hash, sizeBytes: stored.length }];
    const object: PackedObject = {
      hash,
      type: '',
      compression: 'zlib',
      storedBytes: stored.length,
      sizeBytes,
    };
    const { stream, delivered } = scene([], {
      servers: server,
      packs,
      places: placeObjects([object], packs),
      wanted: new Uint8Array([1]),
    });
    await stream.run();
    assert.equal(delivered.size, 0);
    assert.equal(stream.counters.damaged, 1);
  }
});

test('an object that is no zlib stream is left out', async () => {
  const stored = Buffer.from('no zlib stream');
  const hash = hashBytes(nodeHashing, 'sha1', stored);
  const server = new PackServer();
  server.files.set(objectPath(hash, ''), stored);
  const packs = [{ hash, sizeBytes: stored.length }];
  const object: PackedObject = {
    hash,
    type: '',
    compression: 'zlib',
    storedBytes: stored.length,
    sizeBytes: 9,
  };
  const { stream } = scene([], {
    servers: server,
    packs,
    places: placeObjects([object], packs),
    wanted: new Uint8Array([1]),
  });
  await stream.run();
  assert.deepEqual([stream.counters.delivered, stream.counters.damaged], [0, 1]);
});

for (const [what, change] of [
  ['is missing', (server: PackServer, path: string) => server.files.delete(path)],
  [
    'is cut short',
    (server: PackServer, path: string) => server.files.set(path, server.files.get(path)!.subarray(0, 10)),
  ],
  [
    'is longer than it may be',
    (server: PackServer, path: string) =>
      server.files.set(path, Buffer.concat([server.files.get(path)!, Buffer.alloc(50_000)])),
  ],
] as const) {
  test(`a pack that ${what} does not keep the next from arriving`, async () => {
    const { stream, server, delivered, paths } = scene([[5000], [6000]]);
    change(server, paths[0]!);
    await stream.run();
    assert.ok(delivered.has(1));
    assert.equal(stream.counters.damaged, 1);
  });
}

test('a stream that the network breaks goes on where it was', async () => {
  const { stream, server, delivered } = scene([[300 * KIB, 300 * KIB, 300 * KIB]]);
  let failures = 2;
  server.onPiece = (sent) => {
    if (sent < 310 * KIB || failures === 0) return;
    failures--;
    throw new ThimbleError('NETWORK', 'connection closed');
  };
  await stream.run();
  assert.deepEqual([...delivered.keys()], [0, 1, 2]);
  assert.equal(server.asked.length, 3);
  assert.ok(server.asked[1]!.offset >= 300 * KIB);
});

test('a network that is gone ends it', async () => {
  const { stream, server } = scene([[5000], [5000]]);
  server.onPiece = () => {
    throw new ThimbleError('NETWORK', 'no route');
  };
  await assert.rejects(stream.run(), (error) => error instanceof ThimbleError && error.code === 'NETWORK');
  assert.equal(stream.counters.delivered, 0);
});

test('whoever cannot take an object ends it', async () => {
  const failure = new ThimbleError('STORAGE', 'disk full');
  const { stream } = scene([[5000, 5000]], { deliver: () => Promise.reject(failure) });
  await assert.rejects(stream.run(), failure);
});

test('stretches end where packs do', () => {
  const hash = 'a'.repeat(40) as ContentHash;
  const object: PackedObject = {
    hash,
    type: '',
    compression: 'none',
    storedBytes: 400 * KIB,
    sizeBytes: 400 * KIB,
  };
  const packs = [
    { hash, sizeBytes: 800 * KIB },
    { hash, sizeBytes: 800 * KIB },
  ];
  const places = placeObjects([object, object, object, object], packs);
  const plan = (...wanted: number[]) =>
    planStretches(places, packs, new Uint8Array(wanted)).map(({ pack, first, last, offset, length }) => [
      pack,
      first,
      last,
      offset / KIB,
      length / KIB,
    ]);
  assert.deepEqual(plan(1, 1, 1, 1), [
    [0, 0, 1, 0, 800],
    [1, 2, 3, 0, 800],
  ]);
  assert.deepEqual(plan(0, 1, 1, 0), [
    [0, 1, 1, 400, 400],
    [1, 2, 2, 0, 400],
  ]);
  assert.deepEqual(plan(0, 0, 0, 0), []);
});
