/** Archives that the system's GNU tar writes. */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { dir, file, hardlink, type Literal, makeTree, symlink } from '../../test/support/trees.ts';
import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import { readTar, type TarEntry } from './tar.ts';

const SECOND = 1_000_000_000n;
const LONG = 'long'.repeat(50);

const PLAIN: Literal = dir({
  empty: file(''),
  'one block': file('x'.repeat(512)),
  'one more': file('x'.repeat(513)),
  program: file('#!/bin/sh\n', { mode: 0o4755, mtimeSeconds: 1 }),
  'caf\u00e9 \\ "': file('name'),
  sub: dir({ again: hardlink('program'), pointer: symlink('../program') }, { mode: 0o1777 }),
});

/** What only the formats after ustar can hold. */
const RICH: Literal = dir({
  old: file('before 1970'),
  [LONG]: dir({
    [LONG]: file('deep'),
    pointer: symlink(`${LONG}/${LONG}`),
    other: hardlink(`${LONG}/${LONG}`),
  }),
});

type Archived = Omit<TarEntry, 'content'> & { readonly content: Bytes };

async function readAll(source: AsyncIterable<Bytes>): Promise<Map<string, Archived>> {
  const entries = new Map<string, Archived>();
  for await (const { content, ...entry } of readTar(source)) {
    const parts: Bytes[] = [];
    for await (const part of content) parts.push(part);
    entries.set(Buffer.from(entry.path, 'latin1').toString(), { ...entry, content: concatBytes(parts) });
  }
  return entries;
}

async function archiveOf(folder: string, ...options: string[]): Promise<Map<string, Archived>> {
  const bytes = execFileSync('tar', [...options, '-cf', '-', '-C', folder, '.'], { maxBuffer: 1 << 28 });
  return readAll(
    (async function* () {
      yield bytes;
    })(),
  );
}

/** Every path of the folder, as find(1) sees it. */
function pathsOf(folder: string): string[] {
  return execFileSync('find', ['.', '-print0'], { cwd: folder, encoding: 'utf8' })
    .split('\0')
    .slice(0, -1)
    .sort();
}

function assertSame(folder: string, entries: ReadonlyMap<string, Archived>, withNs: boolean): void {
  assert.deepEqual([...entries.keys()].sort(), pathsOf(folder));
  for (const [path, entry] of entries) {
    const disk = join(folder, path);
    const stats = lstatSync(disk, { bigint: true });
    const fraction = ((stats.mtimeNs % SECOND) + SECOND) % SECOND;
    const mtimeNs = withNs ? stats.mtimeNs : stats.mtimeNs - fraction;
    assert.deepEqual(
      {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtimeNs: BigInt(entry.mtimeSeconds) * SECOND + BigInt(entry.mtimeNs),
      },
      { mode: Number(stats.mode & 0o7777n), uid: Number(stats.uid), gid: Number(stats.gid), mtimeNs },
      path,
    );
    assertSameContent(disk, entry, entries);
  }
}

function assertSameContent(disk: string, entry: Archived, entries: ReadonlyMap<string, Archived>): void {
  switch (entry.type) {
    case 'file':
      assert.deepEqual(Buffer.from(entry.content), readFileSync(disk));
      return;
    case 'symlink':
      assert.equal(entry.link, readlinkSync(disk, 'latin1'));
      return;
    case 'directory':
      assert.ok(lstatSync(disk).isDirectory());
      return;
    case 'hardlink': {
      const target = entries.get(Buffer.from(entry.link, 'latin1').toString());
      assert.equal(target?.type, 'file', disk);
      assert.deepEqual(Buffer.from(target!.content), readFileSync(disk));
      return;
    }
    case 'character':
    case 'block':
    case 'fifo':
      assert.fail(`${disk} is a ${entry.type}`);
  }
}

function folderWith(t: TestContext, tree: Literal): string {
  const folder = scratchFolder(t);
  makeTree(folder, tree);
  return folder;
}

describe('readTar() and the tar of the system', () => {
  for (const format of ['v7', 'oldgnu', 'gnu', 'ustar', 'pax']) {
    test(`readTar() reads what tar --format=${format} writes`, async (t) => {
      const folder = folderWith(t, PLAIN);
      assertSame(folder, await archiveOf(folder, `--format=${format}`), format === 'pax');
    });
  }

  for (const format of ['oldgnu', 'gnu', 'pax']) {
    test(`readTar() reads long names and times before 1970 of tar --format=${format}`, async (t) => {
      const folder = folderWith(t, RICH);
      execFileSync('touch', ['-d', '@-12345.25', join(folder, 'old')]);
      assertSame(folder, await archiveOf(folder, `--format=${format}`), format === 'pax');
    });
  }

  test('readTar() reads the extended attributes that tar --xattrs writes', needs('attr'), async (t) => {
    const folder = folderWith(t, dir({ a: file('a'), b: file('b') }));
    const values: Record<string, string> = {
      'user.plain': 'text',
      'user.a=b%c': 'x',
      'user.bytes': '\x00\x0a=\xff',
    };
    for (const [name, value] of Object.entries(values)) {
      const hex = `0x${Buffer.from(value, 'latin1').toString('hex')}`;
      execFileSync('setfattr', ['-n', name, '-v', hex, join(folder, 'a')]);
    }
    const entries = await archiveOf(folder, '--format=pax', '--xattrs', '--xattrs-include=user.*');
    const read = [...entries.get('./a')!.xattrs].map(([name, value]) => [
      name,
      Buffer.from(value).toString('latin1'),
    ]);
    assert.deepEqual(Object.fromEntries(read), values);
    assert.equal(entries.get('./b')!.xattrs.size, 0);
  });

  for (const format of ['gnu', 'pax']) {
    test(
      `readTar() reads devices, pipes and large owners of tar --format=${format}`,
      needs('root'),
      async (t) => {
        const folder = folderWith(t, dir({ owned: file('x', { uid: 3_000_000, gid: 4_000_000_000 }) }));
        execFileSync('mkfifo', [join(folder, 'pipe')]);
        execFileSync('mknod', [join(folder, 'null'), 'c', '1', '3']);
        execFileSync('mknod', [join(folder, 'disk'), 'b', '259', '65537']);
        const entries = await archiveOf(folder, `--format=${format}`);
        const facts = (name: string) => {
          const { type, major, minor, uid, gid } = entries.get(`./${name}`)!;
          return { type, major, minor, uid, gid };
        };
        const byRoot = { uid: 0, gid: 0 };
        assert.deepEqual(facts('pipe'), { type: 'fifo', major: 0, minor: 0, ...byRoot });
        assert.deepEqual(facts('null'), { type: 'character', major: 1, minor: 3, ...byRoot });
        assert.deepEqual(facts('disk'), { type: 'block', major: 259, minor: 65_537, ...byRoot });
        assert.deepEqual(facts('owned'), {
          type: 'file',
          major: 0,
          minor: 0,
          uid: 3_000_000,
          gid: 4_000_000_000,
        });
      },
    );

    test(`readTar() reads the size of a file beyond 8 GiB of tar --format=${format}`, async (t) => {
      const folder = scratchFolder(t);
      const sizeBytes = 8 * 1024 ** 3 + 7;
      writeFileSync(join(folder, 'large'), '');
      truncateSync(join(folder, 'large'), sizeBytes);
      const child = spawn('tar', [`--format=${format}`, '-cf', '-', '-C', folder, 'large'], {
        stdio: ['ignore', 'pipe', 'ignore'],
      });
      const ended = new Promise((resolve) => child.once('close', resolve));
      for await (const entry of readTar(child.stdout)) {
        assert.equal(entry.sizeBytes, sizeBytes);
        break;
      }
      child.kill();
      child.stdout.destroy();
      await ended;
    });
  }

  for (const options of [
    ['--format=gnu'],
    ['--format=oldgnu'],
    ...['0.0', '0.1', '1.0'].map((version) => ['--format=pax', `--sparse-version=${version}`]),
  ]) {
    test(`readTar() reads the whole of sparse files of tar --sparse ${options.join(' ')}`, async (t) => {
      const folder = scratchFolder(t);
      // More pieces than a header and one block behind it hold.
      makeSparse(join(folder, 'many'), 60, 64 * 1024);
      makeSparse(join(folder, LONG), 3, 300_000);
      writeFileSync(join(folder, 'hole'), '');
      truncateSync(join(folder, 'hole'), 5_000_001);
      writeFileSync(join(folder, 'tail'), 'at the start only');
      truncateSync(join(folder, 'tail'), 1_000_000);
      writeFileSync(join(folder, 'after'), 'not sparse');
      const entries = await archiveOf(folder, '--sparse', ...options);
      assertSame(folder, entries, options[0] === '--format=pax');
    });
  }
});

/** Pieces of a page with holes between them; the last one ends the file. */
function makeSparse(path: string, pieces: number, distance: number): void {
  const fd = openSync(path, 'w');
  for (let i = 1; i <= pieces; i++) writeSync(fd, `piece ${i}`.padEnd(4096, '.'), i * distance);
  closeSync(fd);
}
