import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { cacheId, put, readAll, testSteeredCache } from '../../../test/contract/cache-contract.ts';
import { scratchFolder } from '../../../test/support/scratch.ts';
import { FolderCache } from './folder-cache.ts';
import { FolderCacheReader } from './folder-reader.ts';

const LIMIT = 1024 * 1024;

function openCache(
  t: Pick<TestContext, 'after'>,
  folder = scratchFolder(t),
  limitBytes = LIMIT,
): FolderCache {
  const cache = FolderCache.open(folder, { limitBytes });
  let isOpen = true;
  const close = cache.close.bind(cache);
  cache.close = () => {
    if (isOpen) close();
    isOpen = false;
  };
  t.after(() => cache.close());
  return cache;
}

const pathOf = (folder: string, n: number) =>
  join(folder, 'objects', cacheId(n).slice(0, 2), cacheId(n).slice(2));

/** All files below the folder, relative to it. */
function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}

testSteeredCache('FolderCache', (t, limitBytes) => openCache(t, undefined, limitBytes));

test('FolderCache keeps content for the next one that opens the folder', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder);
  put(first, cacheId(1), 'hello');
  put(first, cacheId(2), '');
  first.close();
  const second = openCache(t, folder);
  assert.equal(readAll(second, cacheId(1)), 'hello');
  assert.equal(readAll(second, cacheId(2)), '');
  assert.equal(second.usedBytes, 5);
});

test('FolderCache leaves nothing but objects and sums when it is closed', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  put(cache, cacheId(1), 'hello');
  const aborted = cache.create(cacheId(2), 5);
  aborted.write(Buffer.from('hel'));
  const large = cache.create(cacheId(3), 200_000);
  large.write(Buffer.alloc(100));
  const [resident] = readdirSync(join(folder, 'running'));
  assert.ok(resident!.startsWith(`${process.pid}.`));
  assert.deepEqual(
    filesIn(folder).filter((path) => !path.startsWith('objects')),
    ['boot', `running/${resident}`, 'sums', `tmp/${resident}-1-200000`],
  );
  aborted.abort();
  large.abort();
  cache.close();
  assert.deepEqual(filesIn(folder), ['boot', `objects/00/${'1'.padStart(38, '0')}`, 'sums', 'usage']);
});

test('FolderCache keeps its folder from other users', (t) => {
  const folder = join(scratchFolder(t), 'cache');
  put(openCache(t, folder), cacheId(1), 'hello');
  for (const path of filesIn(folder)) {
    if (!path.startsWith('running')) assert.equal(statSync(join(folder, path)).mode & 0o077, 0, path);
  }
  for (const part of ['objects', 'objects/00', 'tmp', 'running', 'suspect', 'pins']) {
    assert.equal(statSync(join(folder, part)).mode & 0o077, 0, part);
  }
});

test('FolderCache.open() throws STORAGE for a folder that cannot be one', (t) => {
  const file = join(scratchFolder(t), 'file');
  writeFileSync(file, '');
  for (const path of [file, '/proc/none', '/proc/none/cache'])
    assert.throws(() => FolderCache.open(path, { limitBytes: LIMIT }), { code: 'STORAGE', hint: /--cache/ });
});

test('FolderCache refuses content that is larger than half of its limit, and drops nothing for it', (t) => {
  const cache = openCache(t, undefined, 1_000);
  put(cache, cacheId(1), Buffer.alloc(400));
  assert.throws(() => cache.create(cacheId(2), 501), { code: 'STORAGE' });
  assert.equal(cache.has(cacheId(1)), true);
  put(cache, cacheId(2), Buffer.alloc(500));
});

test('FolderCache keeps its limit while several write at a time', (t) => {
  const cache = openCache(t, undefined, 1_000);
  for (let n = 0; n < 5; n++) put(cache, cacheId(n), Buffer.alloc(100));
  const writers = [10, 11].map((n) => cache.create(cacheId(n), 400));
  for (const writer of writers) {
    writer.write(Buffer.alloc(400));
    writer.commit();
  }
  assert.ok(cache.usedBytes <= 1_000, `${cache.usedBytes} bytes are used`);
  assert.deepEqual([cache.has(cacheId(10)), cache.has(cacheId(11))], [true, true]);
});

test('FolderCache takes back the room of writers that gave up', (t) => {
  const cache = openCache(t, undefined, 1_000);
  for (let n = 0; n < 5; n++) put(cache, cacheId(n), Buffer.alloc(100));
  for (let n = 10; n < 30; n++) cache.create(cacheId(n), 400).abort();
  for (let n = 0; n < 5; n++) assert.equal(cache.has(cacheId(n)), true);
});

test('FolderCache drops what was used longest ago', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder, 1_000);
  for (let n = 0; n < 10; n++) {
    put(first, cacheId(n), Buffer.alloc(100, n));
    const path = join(folder, 'objects', cacheId(n).slice(0, 2), cacheId(n).slice(2));
    utimesSync(path, 1_000_000, 1_600_000_000 + n);
  }
  first.close();
  const cache = openCache(t, folder, 1_000);
  // Reading makes the oldest the youngest, whatever the mount options say of access times.
  readAll(cache, cacheId(0));
  put(cache, cacheId(10), Buffer.alloc(100));
  const here = Array.from({ length: 11 }, (_, n) =>
    existsSync(join(folder, 'objects/00', cacheId(n).slice(2))),
  );
  assert.deepEqual(here, [true, false, false, ...Array(8).fill(true)]);
});

test('FolderCache goes on reading an object that was dropped while it is open', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder, 1_000);
  const reader = new FolderCacheReader(folder);
  t.after(() => reader.close());
  put(cache, cacheId(0), 'x'.repeat(100));
  const half = () => {
    const into = Buffer.alloc(50);
    for (const one of [cache, reader]) {
      assert.equal(one.read(cacheId(0), 50, 50, into, 0), 50);
      assert.equal(into.toString(), 'x'.repeat(50));
    }
  };
  half();
  for (let n = 1; n < 40; n++) put(cache, cacheId(n), Buffer.alloc(100));
  assert.equal(existsSync(join(folder, 'objects/00', cacheId(0).slice(2))), false);
  half();
  assert.equal(cache.has(cacheId(0)), false);
});

test('FolderCache reads more objects than it keeps open', (t) => {
  const cache = openCache(t);
  for (let n = 0; n < 600; n++) put(cache, cacheId(n), `content ${n}`);
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 600; n++) assert.equal(readAll(cache, cacheId(n)), `content ${n}`);
  }
  const open = readdirSync('/proc/self/fd').length;
  assert.ok(open < 600, `${open} descriptors are open`);
});

test('FolderCacheReader sees what the cache puts later', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  const reader = new FolderCacheReader(folder);
  t.after(() => reader.close());
  assert.equal(reader.has(cacheId(1)), false);
  assert.equal(readAll(reader, cacheId(1)), undefined);
  put(cache, cacheId(1), 'hello');
  assert.equal(reader.has(cacheId(1)), true);
  assert.equal(readAll(reader, cacheId(1)), 'hello');
});

// ---- sums ----

const sumsOf = (folder: string) => readFileSync(join(folder, 'sums'), 'latin1');

test('FolderCache keeps length and CRC-32 of each object', (t) => {
  const folder = scratchFolder(t);
  const cache = openCache(t, folder);
  const writer = cache.create(cacheId(1), 9);
  // The check value of CRC-32, in two pieces.
  for (const chunk of ['12345', '6789']) writer.write(Buffer.from(chunk));
  writer.commit();
  assert.equal(sumsOf(folder), `${cacheId(1)} 9 cbf43926\n`);
});

/** Lines of objects that are long gone. */
const staleLines = (count: number) =>
  Array.from({ length: count }, (_, n) => `${cacheId(1_000_000 + n)} 5 00000000\n`).join('');

test('FolderCache forgets the sums of objects that are gone when it counts, and only those', async (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder);
  put(first, cacheId(1), 'hello');
  put(first, cacheId(2), 'world');
  const lines = sumsOf(folder);
  first.close();
  appendFileSync(join(folder, 'sums'), staleLines(2_000));
  const second = openCache(t, folder);
  assert.equal(second.usedBytes, 10 + 2_000 * 5, 'what the lines say, until somebody counts');
  const counting = second.count();
  put(second, cacheId(3), 'again');
  await counting;
  assert.ok(second.usedBytes >= 15, 'what comes meanwhile may count twice, and is not missed');
  await second.count();
  assert.equal(second.usedBytes, 15);
  assert.ok(sumsOf(folder).startsWith(lines));
  assert.match(sumsOf(folder), new RegExp(`\n${cacheId(3)} 5 [0-9a-f]{8}\n`));
  assert.ok(sumsOf(folder).length < 500);
  assert.equal(statSync(join(folder, 'sums')).mode & 0o077, 0);
  assert.deepEqual(readdirSync(join(folder, 'tmp')), []);
  second.close();
  assert.equal(openCache(t, folder).usedBytes, 15);
});

test('FolderCache leaves short sums as they are', async (t) => {
  const folder = scratchFolder(t);
  openCache(t, folder).close();
  appendFileSync(join(folder, 'sums'), staleLines(100));
  const cache = openCache(t, folder);
  await cache.count();
  assert.ok(sumsOf(folder).startsWith(staleLines(100)));
  assert.equal(cache.usedBytes, 0);
});

test('FolderCache leaves the sums alone while another process may add to them', async (t) => {
  const folder = scratchFolder(t);
  openCache(t, folder).close();
  appendFileSync(join(folder, 'sums'), staleLines(2_000));
  writeFileSync(join(folder, 'running', '1.0.1'), readIdentityOfInit());
  await openCache(t, folder).count();
  assert.ok(sumsOf(folder).startsWith(staleLines(2_000)));
});

function readIdentityOfInit(): string {
  const ticks = readFileSync('/proc/1/stat', 'latin1').split(') ').at(-1)!.split(' ')[19];
  return `${readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()} ${ticks}`;
}

// ---- traces of others ----

test('FolderCache removes temporary files of processes that are gone, and keeps those of others', async (t) => {
  const folder = scratchFolder(t);
  openCache(t, folder).close();
  writeFileSync(join(folder, 'running', '1.0.1'), readIdentityOfInit());
  for (const name of ['4194304.0.1-0-5', '1.0.1-0-5', `${process.pid}.0.0-7-5`])
    writeFileSync(join(folder, 'tmp', name), 'half');
  openCache(t, folder);
  await until(() => readdirSync(join(folder, 'tmp')).length === 1);
  assert.deepEqual(readdirSync(join(folder, 'tmp')), ['1.0.1-0-5']);
});

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

for (const [what, mark, content] of [
  ['of a process that is gone', '4194304.0.1', 'some-boot 17'],
  ['of an earlier process with the same id', '1.0.1', 'another-boot 17'],
  ['without content', '1.0.1', ''],
] as const) {
  test(`FolderCache suspects its objects when it finds a mark ${what}`, (t) => {
    const folder = scratchFolder(t);
    const first = openCache(t, folder);
    put(first, cacheId(1), 'hello');
    put(first, cacheId(2), 'world');
    first.close();
    writeFileSync(join(folder, 'running', mark), content);
    const second = openCache(t, folder);
    assert.equal(readdirSync(join(folder, 'running')).length, 1);
    assert.equal(existsSync(join(folder, 'running', mark)), false);
    assert.deepEqual(
      filesIn(join(folder, 'suspect')),
      [1, 2].map((n) => `1/00/${cacheId(n).slice(2)}`),
    );
    assert.equal(second.usedBytes, 10, 'suspects take space as well');
    assert.equal(readAll(second, cacheId(1)), 'hello');
    assert.deepEqual(filesIn(join(folder, 'objects')), [`00/${cacheId(1).slice(2)}`]);
    assert.equal(second.usedBytes, 10);
  });
}

test('FolderCache suspects its objects after the machine was started anew', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder);
  put(first, cacheId(1), 'hello');
  put(first, cacheId(2), 'world');
  first.close();
  writeFileSync(join(folder, 'boot'), 'an-earlier-start');
  writeFileSync(pathOf(folder, 2), 'wor\0d');
  const second = openCache(t, folder);
  assert.equal(readAll(second, cacheId(1)), 'hello');
  assert.equal(readAll(second, cacheId(2)), undefined);
  second.close();
  const third = openCache(t, folder);
  assert.deepEqual(filesIn(join(folder, 'suspect')), [], 'once is enough');
  assert.equal(readAll(third, cacheId(1)), 'hello');
});

test('FolderCache keeps what nobody has asked for over four starts, and not over five', async (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder);
  put(first, cacheId(1), 'hello');
  first.close();
  for (let start = 2; start <= 5; start++) {
    writeFileSync(join(folder, 'boot'), `start ${start}`);
    const cache = openCache(t, folder);
    put(cache, cacheId(start), 'x');
    cache.close();
  }
  assert.ok(existsSync(join(folder, 'suspect/1')));
  writeFileSync(join(folder, 'boot'), 'start 6');
  const last = openCache(t, folder);
  assert.equal(last.has(cacheId(1)), false);
  for (let start = 2; start <= 5; start++) assert.equal(readAll(last, cacheId(start)), 'x');
  await until(() => readdirSync(join(folder, 'tmp')).length === 0);
});

test('FolderCache keeps its limit with suspects in it', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder, 1_000);
  for (let n = 0; n < 9; n++) put(first, cacheId(n), Buffer.alloc(100));
  first.close();
  writeFileSync(join(folder, 'running', '4194304.0.1'), 'some-boot 17');
  const second = openCache(t, folder, 1_000);
  for (let n = 20; n < 25; n++) put(second, cacheId(n), Buffer.alloc(100));
  const bytes = ['objects', 'suspect']
    .flatMap((part) => filesIn(join(folder, part)).map((path) => join(folder, part, path)))
    .reduce((sum, path) => sum + statSync(path).size, 0);
  assert.ok(bytes <= 1_000, `${bytes} bytes are there`);
  for (let n = 20; n < 25; n++) assert.equal(second.has(cacheId(n)), true);
});

test('FolderCache goes on when another process has cleared up at the same moment', (t) => {
  const folder = scratchFolder(t);
  const first = openCache(t, folder);
  put(first, cacheId(1), 'hello');
  first.close();
  // As another one leaves it between its steps: `objects` is `suspect` already, the marker is still there.
  writeFileSync(join(folder, 'running', '4194304.0.1'), 'some-boot 17');
  mkdirSync(join(folder, 'suspect', '1', 'ff'), { recursive: true });
  const second = openCache(t, folder);
  assert.equal(readAll(second, cacheId(1)), 'hello');
});
