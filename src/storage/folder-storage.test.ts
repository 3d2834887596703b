import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs, {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { testStorage } from '../../test/contract/storage-contract.ts';
import { needs } from '../../test/support/needs.ts';
import { memoryScratch, scratchFolder } from '../../test/support/scratch.ts';
import { makeStorage, storagePlace } from '../../test/support/storage-place.ts';
import { FolderStorage } from './folder-storage.ts';
import { openStorage } from './open-storage.ts';

const OBJECT = 'data/ab/cdef';

function newStorage(t: TestContext): { storage: FolderStorage; folder: string } {
  const { storage, folder } = storagePlace(t);
  return { storage, folder };
}

testStorage('a folder', (t) => {
  const folder = memoryScratch(t);
  makeStorage(folder);
  return () => new FolderStorage(folder);
});

/** Files that are not finished; folders of threads are none. */
function temporaryFiles(folder: string): string[] {
  return readdirSync(join(folder, 'data/txn'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name);
}

test('create() makes the 256 folders of objects and the one of temporary files, and leaves what is there alone', async (t) => {
  const { storage, folder } = newStorage(t);
  mkdirSync(join(folder, 'data/00'));
  writeFileSync(join(folder, 'data/00/kept'), 'x');
  await storage.create();
  const names = readdirSync(join(folder, 'data'));
  assert.equal(names.length, 257);
  assert.ok(names.includes('00') && names.includes('ff') && names.includes('txn'));
  assert.equal(readFileSync(join(folder, 'data/00/kept'), 'utf8'), 'x');
});

test('putObject() stores once: the second time it says so and leaves the object as it was', async (t) => {
  const { storage, folder } = newStorage(t);
  assert.equal(await storage.putObject(OBJECT, Buffer.from('first')), true);
  const { ino } = statSync(join(folder, OBJECT));
  assert.equal(await storage.putObject(OBJECT, Buffer.from('other')), false);
  assert.equal(statSync(join(folder, OBJECT)).ino, ino);
  assert.equal(Buffer.from((await storage.read(OBJECT))!).toString(), 'first');
});

test('replace() makes folders that are missing and leaves no temporary file', async (t) => {
  const { storage, folder } = newStorage(t);
  await storage.replace('deep/er/file', Buffer.from('x'));
  await storage.replace('deep/er/file', Buffer.from('y'));
  assert.equal(readFileSync(join(folder, 'deep/er/file'), 'utf8'), 'y');
  assert.deepEqual(temporaryFiles(folder), []);
});

test('replace() puts a new file in the place of the old one: whoever has that open reads it to its end', async (t) => {
  const { storage, folder } = newStorage(t);
  await storage.replace('.cvmfspublished', Buffer.from('old'));
  const before = statSync(join(folder, '.cvmfspublished'));
  await storage.replace('.cvmfspublished', Buffer.from('new'));
  assert.notEqual(statSync(join(folder, '.cvmfspublished')).ino, before.ino);
});

test('replace() replaces a symlink, not the file that it points to', async (t) => {
  const { storage, folder } = newStorage(t);
  writeFileSync(join(folder, 'elsewhere'), 'untouched');
  symlinkSync('elsewhere', join(folder, '.cvmfspublished'));
  await storage.replace('.cvmfspublished', Buffer.from('new'));
  assert.equal(readFileSync(join(folder, 'elsewhere'), 'utf8'), 'untouched');
});

/** Reads a file over and over until its input ends, then prints how often, and what it saw that was neither whole file. */
const READER = `
const { readFileSync } = require('node:fs');
let reads = 0, torn = 0, isDone = false;
process.stdin.on('end', () => { isDone = true; }).resume();
const look = () => {
  for (let i = 0; i < 5; i++, reads++) {
    const bytes = readFileSync(process.argv[1]);
    if (bytes.length !== 300000 || bytes.some((byte) => byte !== bytes[0])) torn++;
    if (reads === 0) console.log('reading');
  }
  if (isDone) console.log(JSON.stringify({ reads, torn }));
  else setImmediate(look);
};
look();
`;

test('readers see the old or the new file, never a part, while it is replaced', async (t) => {
  const { storage, folder } = newStorage(t);
  const files = ['a', 'b'].map((letter) => Buffer.alloc(300_000, letter));
  await storage.replace('file', files[0]!);
  // Writing is synchronous: the reader has to be another process.
  const reader = spawn(process.execPath, ['-e', READER, join(folder, 'file')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(reader.stdout)[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'reading');
  for (let i = 0; i < 100; i++) await storage.replace('file', files[i % 2]!);
  reader.stdin.end();
  const { reads, torn } = JSON.parse((await lines.next()).value as string) as { reads: number; torn: number };
  assert.ok(reads > 5, 'the reader was reading meanwhile');
  assert.equal(torn, 0);
});

test('a write that fails names the file, leaves the old one, and no temporary file', async (t) => {
  const { storage, folder } = newStorage(t);
  mkdirSync(join(folder, 'taken/inside'), { recursive: true });
  await assert.rejects(storage.replace('taken', Buffer.from('x')), {
    code: 'STORAGE',
    message: `Cannot write ${join(folder, 'taken')}`,
  });
  assert.ok(existsSync(join(folder, 'taken/inside')));
  assert.deepEqual(temporaryFiles(folder), []);
});

test('read() of what is no file fails with STORAGE', async (t) => {
  const { storage } = newStorage(t);
  await assert.rejects(storage.read('data'), { code: 'STORAGE', message: /^Cannot read .*data$/ });
});

test('create() below a regular file fails with STORAGE and names the folder', async (t) => {
  const scratch = scratchFolder(t);
  writeFileSync(join(scratch, 'file'), '');
  const folder = join(scratch, 'file/storage');
  await assert.rejects(new FolderStorage(folder).create(), {
    code: 'STORAGE',
    message: `Cannot create ${folder}`,
  });
});

test('close() removes its folder of temporary files; the storage can be used again', async (t) => {
  const { storage, folder } = newStorage(t);
  await storage.putObject(OBJECT, Buffer.from('x'));
  assert.equal(readdirSync(join(folder, 'data/txn')).length, 1);
  await storage.close();
  assert.deepEqual(readdirSync(join(folder, 'data/txn')), []);
  assert.equal(await storage.putObject('data/ab/other', Buffer.from('y')), true);
  await storage.close();
});

test('two storages of one folder, as two threads have them, do not touch the temporary files of each other', async (t) => {
  const { storage, folder } = newStorage(t);
  const other = openStorage(storage.location);
  await storage.putObject('data/ab/1', Buffer.from('x'));
  await other.putObject('data/ab/2', Buffer.from('y'));
  assert.equal(readdirSync(join(folder, 'data/txn')).length, 2);
  await other.close();
  assert.equal(await storage.putObject('data/ab/3', Buffer.from('z')), true);
});

test('files are readable for a web server', async (t) => {
  const { storage, folder } = newStorage(t);
  await storage.putObject(OBJECT, Buffer.from('x'));
  await storage.replace('file', Buffer.from('x'));
  for (const path of [OBJECT, 'file']) assert.equal(statSync(join(folder, path)).mode & 0o444, 0o444);
});

test('flush() of a folder that is gone fails with STORAGE', async (t) => {
  const storage = new FolderStorage(join(scratchFolder(t), 'gone'));
  await assert.rejects(storage.flush(), { code: 'STORAGE', message: /^Cannot flush .*gone/ });
});

test('a file that is replaced is durable before it takes its name, and its folder after; objects wait for flush()', async (t) => {
  const { storage, folder } = newStorage(t);
  const calls: string[] = [];
  const names = new Map<number, string>();
  for (const name of ['openSync', 'fsyncSync', 'renameSync'] as const) {
    const original = fs[name] as (...args: unknown[]) => unknown;
    t.mock.method(fs, name, (...args: unknown[]) => {
      const result = original(...args);
      if (name === 'openSync') names.set(result as number, args[1] === 'r' ? 'folder' : 'file');
      else calls.push(name === 'fsyncSync' ? `fsync ${names.get(args[0] as number)}` : 'rename');
      return result;
    });
  }
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  await storage.replace('.cvmfspublished', Buffer.from('x'));
  assert.deepEqual(calls.splice(0), ['fsync file', 'rename', 'fsync folder']);
  await storage.putObject(OBJECT, Buffer.from('x'));
  assert.deepEqual(calls, ['rename']);
  assert.ok(existsSync(join(folder, OBJECT)));
});

/** A storage on a file system of 2 MiB. */
function fullDisk(t: TestContext): { storage: FolderStorage; folder: string } {
  const folder = scratchFolder(t);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]);
  assert.equal(mounted.status, 0, String(mounted.stderr));
  makeStorage(folder);
  return { storage: new FolderStorage(folder), folder };
}

test(
  'a full disk gives STORAGE with a hint, leaves the old file and no part of the new one',
  needs('root'),
  async (t) => {
    const { storage, folder } = fullDisk(t);
    await storage.replace('.cvmfspublished', Buffer.from('old'));
    const large = Buffer.alloc(4 * 1024 * 1024, 1);
    await assert.rejects(storage.replace('.cvmfspublished', large), {
      code: 'STORAGE',
      hint: 'the disk is full',
    });
    await assert.rejects(storage.putObject(OBJECT, large), { code: 'STORAGE', hint: 'the disk is full' });
    assert.equal(readFileSync(join(folder, '.cvmfspublished'), 'utf8'), 'old');
    assert.equal(await storage.size(OBJECT), undefined);
    assert.deepEqual(temporaryFiles(folder), []);
    assert.equal(await storage.putObject(OBJECT, Buffer.from('small')), true, 'there is room again');
  },
);

test('removeTemporaryFiles() removes what a killed writer left, and nothing else', async (t) => {
  const { storage, folder } = newStorage(t);
  await storage.putObject(OBJECT, Buffer.from('x'));
  mkdirSync(join(folder, 'data/txn/1-killed'));
  writeFileSync(join(folder, 'data/txn/1-killed/0'), 'half');
  await storage.close();
  await storage.removeTemporaryFiles();
  assert.deepEqual(readdirSync(join(folder, 'data/txn')), []);
  assert.ok(existsSync(join(folder, OBJECT)));
});
