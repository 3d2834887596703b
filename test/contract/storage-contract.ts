/** What every `Storage` keeps to. */

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { Storage } from '../../src/storage/storage.ts';
import { noise } from '../support/memory-tree.ts';
import { allObjects, faultyStorage, retryingStorage, slowStorage } from '../support/wrapped-storage.ts';

/** An empty place to store in; each call opens it, as threads do. */
type OpenPlace = (t: Pick<TestContext, 'after'>) => () => Storage;

const OBJECT = 'data/ab/cdef';
const MIB = 1024 * 1024;

interface Suite {
  readonly name: string;
  readonly open: OpenPlace;
  readonly options: { readonly skip: string | false };
  /** False where an answer may be lost, and the second attempt finds what the first one did. */
  readonly tellsWhatIsNew: boolean;
  /** More than a listing has on one page, and larger than what is sent at once; the wrapped ones get by with less. */
  readonly many: number;
  readonly largeBytes: number;
}

/** The tests of all back ends: as it is, with calls that fail and are made again, and with calls that are late. */
export function testStorage(
  name: string,
  open: OpenPlace,
  options: { readonly skip: string | false } = { skip: false },
): void {
  let seed = 0;
  const wrapped = (wrap: (inner: Storage, seed: number) => Storage): OpenPlace => {
    return (t) => {
      const place = open(t);
      return () => wrap(place(), ++seed);
    };
  };
  const usual = { options, tellsWhatIsNew: true, many: 120, largeBytes: 17 * MIB };
  const retried = wrapped((inner, seed) => retryingStorage(faultyStorage(inner, seed)));
  for (const suite of [
    { ...usual, name, open, many: 1100, largeBytes: 40 * MIB },
    { ...usual, name: `${name}, calls that fail made again,`, open: retried, tellsWhatIsNew: false },
    { ...usual, name: `${name}, slowed down,`, open: wrapped(slowStorage) },
  ]) {
    testFiles(suite);
    testConcurrency(suite);
    testListing(suite);
    testLifetime(suite);
  }
  testFailures(name, open, options);
}

function testFiles({ name, open, options, tellsWhatIsNew, largeBytes }: Suite): void {
  test(
    `${name} answers undefined for what is not there, and removes it without a word`,
    options,
    async (t) => {
      const storage = open(t)();
      await storage.create();
      assert.equal(await storage.size(OBJECT), undefined);
      assert.equal(await storage.read(OBJECT), undefined);
      await storage.remove([OBJECT, 'data/00/none', '.cvmfsnone']);
      await storage.remove([]);
    },
  );

  test(`${name} stores an object once, and says whether it was new`, options, async (t) => {
    const storage = open(t)();
    const isNew = await storage.putObject(OBJECT, Buffer.from('first'));
    if (tellsWhatIsNew) assert.equal(isNew, true);
    assert.equal(await storage.putObject(OBJECT, Buffer.from('other')), false);
    assert.equal(text(await storage.read(OBJECT)), 'first');
    assert.equal(await storage.size(OBJECT), 5);
    await storage.remove([OBJECT]);
    const isNewAgain = await storage.putObject(OBJECT, Buffer.from('other'));
    if (tellsWhatIsNew) assert.equal(isNewAgain, true);
    assert.equal(text(await storage.read(OBJECT)), 'other');
  });

  test(`${name} replaces files, by longer and shorter ones`, options, async (t) => {
    const storage = open(t)();
    for (const content of ['old', 'much longer', '', 'new']) {
      await storage.replace('.cvmfspublished', Buffer.from(content));
      assert.equal(text(await storage.read('.cvmfspublished')), content);
      assert.equal(await storage.size('.cvmfspublished'), content.length);
    }
  });

  test(`${name} keeps any bytes, none and very many`, options, async (t) => {
    const storage = open(t)();
    const every = Uint8Array.from({ length: 512 }, (_, i) => i);
    for (const [i, bytes] of [
      new Uint8Array(0),
      every,
      // A view into something larger.
      every.subarray(100, 200),
      noise(100_000),
      noise(largeBytes),
    ].entries()) {
      await storage.putObject(`data/ab/${i}`, bytes);
      const read = await storage.read(`data/ab/${i}`);
      assert.ok(Buffer.from(bytes).equals(read!), `content ${i}`);
      assert.equal(await storage.size(`data/ab/${i}`), bytes.length);
    }
  });

  test(`${name} tells names with odd characters apart`, options, async (t) => {
    const storage = open(t)();
    const names = [
      'a b',
      'a+b',
      'a%20b',
      'a&b',
      'a?b=c',
      'a#b',
      'ä',
      "a'b",
      'a"b',
      'a<b>',
      'a:b',
      'A b',
      '~',
      '$',
    ];
    const paths = names.flatMap((name) => [`data/ab/${name}`, `.cvmfs ${name}`]);
    for (const path of paths) await storage.replace(path, Buffer.from(path));
    for (const path of paths) assert.equal(text(await storage.read(path)), path);
    const listed = (await allObjects(storage)).map(({ path }) => path);
    assert.deepEqual(listed.sort(), names.map((name) => `data/ab/${name}`).sort());
    await storage.remove(paths);
    for (const path of paths) assert.equal(await storage.size(path), undefined);
  });

  test(`${name} is a map from paths to bytes, whatever is done in whatever order`, options, async (t) => {
    const place = open(t);
    const path = fc.constantFrom('data/00/a', 'data/00/b', 'data/ff/a', '.cvmfsreflog');
    const step = fc.tuple(fc.constantFrom('put', 'replace', 'remove', 'read'), path, fc.uint8Array());
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        const storage = place();
        const expected = new Map<string, Uint8Array>();
        await storage.remove(['data/00/a', 'data/00/b', 'data/ff/a', '.cvmfsreflog']);
        for (const [action, at, bytes] of steps) {
          if (action === 'read') assert.deepEqual(plain(await storage.read(at)), plain(expected.get(at)));
          if (action === 'put') await storage.putObject(at, bytes);
          if (action === 'replace') await storage.replace(at, bytes);
          if (action === 'remove') await storage.remove([at]);
          if (action === 'remove') expected.delete(at);
          else if (action === 'replace' || (action === 'put' && !expected.has(at))) expected.set(at, bytes);
        }
        const listed = await allObjects(storage);
        const objects = [...expected].filter(([at]) => at.startsWith('data/'));
        assert.deepEqual(
          listed.map(({ path, sizeBytes }) => `${path} ${sizeBytes}`).sort(),
          objects.map(([at, bytes]) => `${at} ${bytes.length}`).sort(),
        );
        await storage.close();
      }),
      { numRuns: 25 },
    );
  });
}

function testConcurrency({ name, open, options, tellsWhatIsNew, largeBytes }: Suite): void {
  test(`${name} takes the same object from many at a time`, options, async (t) => {
    const place = open(t);
    const bytes = noise(100_000);
    const storages = [place(), place(), place()];
    const puts = Array.from({ length: 12 }, (_, i) => storages[i % 3]!.putObject(OBJECT, bytes));
    const isNew = await Promise.all(puts);
    if (tellsWhatIsNew) assert.ok(isNew.includes(true));
    assert.ok(Buffer.from(bytes).equals((await storages[0]!.read(OBJECT))!));
    assert.equal(await storages[1]!.putObject(OBJECT, bytes), false);
  });

  test(`${name} shows an object when it is whole, and not before`, options, async (t) => {
    const place = open(t);
    const storage = place();
    const bytes = noise(largeBytes);
    await watch(place(), OBJECT, [undefined, bytes.length], async () => {
      await storage.putObject(OBJECT, bytes);
    });
    assert.ok(Buffer.from(bytes).equals((await storage.read(OBJECT))!));
  });

  test(`${name} shows readers the old or the new file, never a part`, options, async (t) => {
    const place = open(t);
    const storage = place();
    const files = ['a', 'b'].map((letter) => Buffer.alloc(300_000, letter));
    await storage.replace('file', files[0]!);
    await watch(place(), 'file', [300_000], async () => {
      for (let i = 0; i < 20; i++) await storage.replace('file', files[i % 2]!);
    });
  });
}

/** Reads a file all the time that something runs: it is one of these sizes, and all of one byte if it is all of one kind. */
async function watch(
  reader: Storage,
  path: string,
  sizes: readonly (number | undefined)[],
  action: () => Promise<void>,
): Promise<void> {
  let isDone = false;
  const watching = (async () => {
    while (!isDone) {
      const bytes = await reader.read(path);
      assert.ok(sizes.includes(bytes?.length), `${path} has ${bytes?.length} bytes`);
      if (path === 'file') assert.ok(Buffer.alloc(300_000, bytes![0]).equals(bytes!));
      // Storages that never wait would keep the writer from its turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  try {
    await action();
  } finally {
    isDone = true;
    await watching;
  }
}

function testListing({ name, open, options, many }: Suite): void {
  test(`${name} lists all objects, with size and time, and nothing else`, options, async (t) => {
    const storage = open(t)();
    await storage.create();
    assert.deepEqual(await allObjects(storage), []);
    const before = Math.floor(Date.now() / 1000) - 1;
    const paths = Array.from(
      { length: many },
      (_, i) => `data/${(i % 256).toString(16).padStart(2, '0')}/${i}C`,
    );
    for (let i = 0; i < many; i += 50) {
      await Promise.all(paths.slice(i, i + 50).map((path, at) => storage.replace(path, Buffer.alloc(at))));
    }
    for (const path of [
      '.cvmfspublished',
      'data/txn/left',
      'database/ab/c',
      'data/ab/deep/er',
      'data/abc/d',
    ]) {
      await storage.replace(path, Buffer.from('x'));
    }
    const listed = await allObjects(storage);
    assert.deepEqual(listed.map(({ path }) => path).sort(), [...paths].sort());
    for (const { path, sizeBytes, modifiedSeconds } of listed) {
      assert.equal(sizeBytes, paths.indexOf(path) % 50);
      assert.ok(modifiedSeconds >= before && modifiedSeconds <= Date.now() / 1000 + 1, `time of ${path}`);
    }
    await storage.remove([...paths.slice(0, many - 50), 'data/00/none']);
    const left = (await allObjects(storage)).map(({ path }) => path);
    assert.deepEqual(left.sort(), paths.slice(many - 50).sort());
  });
}

function testLifetime({ name, open, options }: Suite): void {
  test(
    `${name} has what it had after create(), flush(), close() and the removal of temporary files`,
    options,
    async (t) => {
      const place = open(t);
      const storage = place();
      await storage.create();
      await storage.putObject(OBJECT, Buffer.from('object'));
      await storage.replace('.cvmfsreflog', Buffer.from('file'));
      await storage.flush();
      await storage.close();
      await storage.close();
      await storage.create();
      await storage.removeTemporaryFiles();
      for (const each of [storage, place()]) {
        assert.equal(text(await each.read(OBJECT)), 'object');
        assert.equal(text(await each.read('.cvmfsreflog')), 'file');
        assert.equal(await each.putObject(OBJECT, Buffer.from('again')), false);
        await each.close();
      }
      assert.ok(storage.parallel >= 1);
    },
  );
}

/** Without retries: whatever failed, what is there is whole, and what was said to be stored is there. */
function testFailures(name: string, open: OpenPlace, options: Suite['options']): void {
  test(
    `${name}, some calls failing, holds all that it said to have stored, and nothing half`,
    options,
    async (t) => {
      const place = open(t);
      const storage = faultyStorage(place(), 1);
      const contents = Array.from({ length: 60 }, (_, i) => noise(1000 + i, i + 1));
      const results = await Promise.allSettled(
        contents.map((bytes, i) => storage.putObject(`data/ab/${i}`, bytes)),
      );
      assert.ok(results.some(({ status }) => status === 'rejected'));
      const sound = place();
      for (const [i, bytes] of contents.entries()) {
        const stored = await sound.read(`data/ab/${i}`);
        if (stored !== undefined) assert.deepEqual(plain(stored), plain(bytes));
        else assert.equal(results[i]!.status, 'rejected');
        await sound.putObject(`data/ab/${i}`, bytes);
        assert.deepEqual(plain(await sound.read(`data/ab/${i}`)), plain(bytes));
      }
      assert.equal((await allObjects(sound)).length, contents.length);
    },
  );
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString();
}

/** Without the difference between a `Buffer` and other arrays. */
function plain(bytes: Uint8Array | undefined): number[] | undefined {
  return bytes === undefined ? undefined : [...bytes];
}
