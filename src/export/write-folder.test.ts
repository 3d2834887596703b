import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { describeTree } from '../../test/support/described-tree.ts';
import { entry, memoryTree, noise } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { TreeEntry } from '../core/tree.ts';
import { FolderTree } from '../publish/folder-tree.ts';
import { Losses } from './losses.ts';
import { writeFolder } from './write-folder.ts';

const CAPABILITY = '\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0';

function newFolderIn(t: TestContext): string {
  const folder = join(scratchFolder(t), 'new');
  mkdirSync(folder);
  return folder;
}

async function written(folder: string, entries: readonly TreeEntry[]): Promise<Losses> {
  const losses = new Losses();
  await writeFolder(memoryTree(entries), folder, losses);
  return losses;
}

describe('writeFolder()', () => {
  test('makes devices, sockets, capabilities, set-user-id bits and nanoseconds', needs('root'), async (t) => {
    const folder = newFolderIn(t);
    const entries = [
      entry('', { mode: 0o042711, uid: 5, mtimeSeconds: -3, mtimeNs: 999_999_999 }),
      entry('/b', { mode: 0o060640, rdev: 0x0010_072c }),
      entry('/c', { mode: 0o020640, rdev: 0x103 }),
      entry('/d', { mode: 0o041500, mtimeSeconds: 2 ** 32, mtimeNs: 1 }),
      entry('/d/inside', { content: 'x', mode: 0o100000 }),
      entry('/p', { mode: 0o010600, uid: 77 }),
      entry('/s', { mode: 0o140755 }),
      entry('/tool', {
        ...{ content: 'x', mode: 0o106755, uid: 4_000_000_000, gid: 3, mtimeNs: 123_456_789, linkKey: '1' },
        xattrs: { 'security.capability': CAPABILITY, 'user.a': '' },
      }),
      entry('/tool2', {
        ...{ mode: 0o106755, uid: 4_000_000_000, gid: 3, mtimeNs: 123_456_789, linkKey: '1' },
        xattrs: { 'security.capability': CAPABILITY, 'user.a': '' },
      }),
      entry('/x', { symlink: '../../nowhere', uid: 9 }),
    ];
    const losses = await written(folder, entries);
    assert.deepEqual(losses.list(), []);
    assert.deepEqual(await describeTree(new FolderTree(folder)), await describeTree(memoryTree(entries)));
  });

  test('leaves holes where blocks are zero, at the end too', async (t) => {
    const folder = newFolderIn(t);
    const content = new Uint8Array(3_000_001);
    content.set(noise(5000), 1_000_000);
    await written(folder, [
      entry(''),
      entry('/holes', { content }),
      entry('/zero', { content: new Uint8Array(1e6) }),
    ]);
    assert.deepEqual(
      await describeTree(new FolderTree(folder)).then((seen) => seen.get('/holes')!.content),
      await describeTree(memoryTree([entry('/holes', { content })])).then(
        (seen) => seen.get('/holes')!.content,
      ),
    );
    assert.ok(statSync(join(folder, 'holes')).blocks * 512 <= 16_384);
    assert.deepEqual([statSync(join(folder, 'zero')).size, statSync(join(folder, 'zero')).blocks], [1e6, 0]);
  });

  for (const [what, entries] of [
    ['below a symlink', [entry(''), entry('/a', { symlink: '/tmp' }), entry('/a/x', { content: 'x' })]],
    ['below a file', [entry(''), entry('/a', { content: '' }), entry('/a/x', { content: 'x' })]],
    ['before their directory', [entry(''), entry('/a/x', { content: 'x' })]],
    [
      'after their directory has ended',
      [entry(''), entry('/a'), entry('/b'), entry('/a/x', { content: 'x' })],
    ],
    ['before the root', [entry('/a')]],
    ['as a root that is no directory', [entry('', { content: 'x' })]],
  ] as const) {
    test(`refuses entries ${what}`, async (t) => {
      await assert.rejects(written(newFolderIn(t), entries), {
        code: 'FORMAT',
        message: /^Cannot write \/.*: it does not follow its directory$/,
      });
    });
  }

  test('follows no symlink that takes the place of a directory, a file or a special file', async (t) => {
    const elsewhere = join(scratchFolder(t), 'elsewhere');
    mkdirSync(elsewhere);
    const link = entry('/a', { symlink: elsewhere });
    for (const second of [
      [entry('/a'), entry('/a/x', { content: 'x' })],
      [entry('/a', { content: 'x' })],
      [entry('/a', { mode: 0o010644 })],
      [entry('/a', { symlink: 'x' })],
    ]) {
      await assert.rejects(written(newFolderIn(t), [entry(''), link, ...second]), {
        code: 'FORMAT',
        message: 'Cannot write /a: the snapshot has this path twice',
      });
    }
    assert.deepEqual(readdirSync(elsewhere), []);
  });

  test('refuses a kind of file that there is not, and content of another length', async (t) => {
    await assert.rejects(written(newFolderIn(t), [entry(''), entry('/a', { mode: 0o644 })]), {
      code: 'FORMAT',
      message: /mode 644 is of nothing/,
    });
    const short = entry('/a', { content: 'abc' });
    const longer = { ...short, content: { ...short.content!, sizeBytes: 4 } };
    await assert.rejects(written(newFolderIn(t), [entry(''), longer]), {
      code: 'FORMAT',
      message: 'Cannot write /a: it has 3 bytes, 4 expected',
    });
  });

  test('says what the disk says', needs('root'), async (t) => {
    const folder = join(scratchFolder(t), 'small');
    mkdirSync(folder);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
    await assert.rejects(
      written(folder, [entry(''), entry('/a', { content: noise(200_000) })]),
      (error: Error) => {
        assert.match(error.message, /^Cannot write \/a$/);
        assert.match(String(error.cause), /ENOSPC/);
        return true;
      },
    );
  });

  test('counts what a file system cannot keep', needs('root'), async (t) => {
    const folder = newFolderIn(t);
    // User attributes are for files and directories alone.
    const losses = await written(folder, [
      entry(''),
      entry('/l', { symlink: 'x', xattrs: { 'user.a': 'b' } }),
      entry('/m', { symlink: 'x', xattrs: { 'user.a': 'b' } }),
    ]);
    assert.deepEqual(
      losses.list().map(({ what, count, first }) => [what, count, first]),
      [['xattr', 2, '/l']],
    );
  });
});

test('a user without rights gets the files, no devices and no rights of others', needs('root'), async (t) => {
  const folder = newFolderIn(t);
  chmodSync(join(folder, '..'), 0o755);
  const tree = [
    "entry('', { uid: 7 })",
    "entry('/device', { mode: 0o020600, rdev: 0x103 })",
    "entry('/closed', { mode: 0o040500 })",
    "entry('/closed/tool', { content: 'x', mode: 0o104755 })",
    "entry('/fifo', { mode: 0o010600 })",
    "entry('/trusted', { content: '', xattrs: { 'security.capability': 'x', 'user.a': 'b' } })",
  ];
  const script = `
    import { entry, memoryTree } from '${import.meta.dirname}/../../test/support/memory-tree.ts';
    import { Losses } from '${import.meta.dirname}/losses.ts';
    import { writeFolder } from '${import.meta.dirname}/write-folder.ts';
    const losses = new Losses();
    process.setgid(12345);
    process.setgroups([]);
    process.setuid(12345);
    await writeFolder(memoryTree([${tree.join(', ')}]), process.argv[1], losses);
    process.stdout.write(JSON.stringify(losses.list().map(({ what, count, first }) => [what, count, first])));`;
  execFileSync('chown', ['12345:12345', folder]);
  const args = [
    '--disable-warning=ExperimentalWarning',
    '--input-type=module-typescript',
    '-e',
    script,
    folder,
  ];
  assert.deepEqual(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })), [
    ['device', 1, '/device'],
    ['owner', 5, '/closed/tool'],
    ['set-id-bits', 1, '/closed/tool'],
    ['xattr', 1, '/trusted'],
  ]);
  assert.equal(existsSync(join(folder, 'device')), false);
  assert.equal(lstatSync(join(folder, 'closed/tool')).mode, 0o100755);
});
