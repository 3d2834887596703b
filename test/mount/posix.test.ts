/**
 * What the manual pages of the system calls say, of a file system that cannot be written. Each row is an expression of
 * `test/support/posix-cases.py`, evaluated in a process of its own, and its value or the name of its error.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { ascii, bytesOf } from '../../src/core/bytes/byte-string.ts';
import type { TreeEntry } from '../../src/core/tree.ts';
import { S_IFBLK, S_IFCHR, S_IFIFO, S_IFSOCK } from '../../src/core/vfs.ts';
import { publishRepository } from '../support/client-repository.ts';
import { FuseProcess, holdMount } from '../support/fuse-process.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { dir, file, hardlink, symlink } from '../support/trees.ts';

type Row = readonly [expression: string, expected: unknown];

const LONGEST = 'n'.repeat(255);
const LARGE_BYTES = 3 * 1024 * 1024 + 77;
const MTIME = 1_600_000_000;

const TREE = dir({
  file: file('content', { mode: 0o640, uid: 12, gid: 34, mtimeSeconds: MTIME }),
  large: file(Buffer.alloc(LARGE_BYTES, 'abcdefg')),
  empty: file(''),
  [LONGEST]: file('long'),
  first: file('linked'),
  second: hardlink('first'),
  id: file(readFileSync('/usr/bin/id'), { mode: 0o4755 }),
  script: file('#!/bin/sh\necho ran\n', { mode: 0o755 }),
  plain: file('#!/bin/sh\necho ran\n'),
  secret: file('secret', { mode: 0o600 }),
  ours: file('ours', { mode: 0o640, gid: 65534 }),
  link: symlink('file'),
  loop: symlink('loop'),
  dangling: symlink('nowhere'),
  up: symlink('d/../file'),
  d: dir({ a: file('a'), b: file('b'), sub: dir({ c: file('c') }) }, { mode: 0o755 }),
  many: dir(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`entry-${i}`, file('')]))),
  closed: dir({ inside: file('inside') }, { mode: 0o700 }),
  passage: dir({ inside: file('inside') }, { mode: 0o711 }),
  ...Object.fromEntries(['fifo', 'socket', 'char', 'block'].map((name) => [name, file('')])),
});

const SPECIAL: Readonly<Record<string, number>> = {
  '/fifo': S_IFIFO | 0o644,
  '/socket': S_IFSOCK | 0o666,
  '/char': S_IFCHR | 0o666,
  '/block': S_IFBLK | 0o666,
};

/** What literals cannot say. */
function change(entry: TreeEntry): TreeEntry {
  const mode = SPECIAL[entry.path];
  // 1:3 is /dev/null.
  if (mode !== undefined)
    return { ...entry, mode, rdev: (mode & S_IFCHR) === S_IFCHR ? 0x103 : 0, content: undefined };
  if (entry.path !== '/file') return entry;
  return { ...entry, xattrs: new Map([[ascii('user.colour'), bytesOf(ascii('green'))]]) };
}

const OPENING: readonly Row[] = [
  ["read('file')", 'content'],
  ["opens('file', os.O_WRONLY)", 'EROFS'],
  ["opens('file', os.O_RDWR)", 'EROFS'],
  ["opens('file', os.O_RDONLY | os.O_TRUNC)", 'EROFS'],
  ["opens('file', os.O_WRONLY | os.O_APPEND)", 'EROFS'],
  ["opens('new', os.O_WRONLY | os.O_CREAT)", 'EROFS'],
  ["opens('new', os.O_RDONLY | os.O_CREAT)", 'EROFS'],
  ["opens('file', os.O_RDONLY | os.O_CREAT)", 'opened'],
  ["opens('file', os.O_RDONLY | os.O_CREAT | os.O_EXCL)", 'EEXIST'],
  ["opens('d', os.O_RDWR | os.O_TMPFILE)", 'EROFS'],
  ["opens('d', os.O_WRONLY)", 'EISDIR'],
  ["opens('d', os.O_RDONLY | os.O_DIRECTORY)", 'opened'],
  ["opens('file', os.O_RDONLY | os.O_DIRECTORY)", 'ENOTDIR'],
  ["opens('link', os.O_RDONLY | os.O_NOFOLLOW)", 'ELOOP'],
  ["stat.S_ISLNK(os.fstat(fd('link', os.O_PATH | os.O_NOFOLLOW)).st_mode)", true],
  ["os.read(fd('file', os.O_PATH), 1)", 'EBADF'],
  ["opens('file', os.O_RDONLY | os.O_NOATIME)", 'opened'],
  ["opens('none')", 'ENOENT'],
  ["opens('file/')", 'ENOTDIR'],
  ["opens('file/x')", 'ENOTDIR'],
  ["opens('d/none/x')", 'ENOENT'],
  ["os.open('', os.O_RDONLY)", 'ENOENT'],
  [`read('${LONGEST}')`, 'long'],
  [`opens('${LONGEST}n')`, 'ENAMETOOLONG'],
  ["opens('d/' * 2100)", 'ENAMETOOLONG'],
  ["opens('loop')", 'ELOOP'],
  ["opens('dangling')", 'ENOENT'],
  ["opens('dangling', os.O_RDWR | os.O_CREAT)", 'EROFS'],
  ["os.readlink(f'/proc/self/fd/{fd()}') == P('file')", true],
  ["os.read(os.open(f'/proc/self/fd/{fd()}', os.O_RDONLY), 100).decode()", 'content'],
  ["os.open(f'/proc/self/fd/{fd()}', os.O_RDWR)", 'EROFS'],
];

const WRITING: readonly Row[] = [
  ["os.mkdir(P('new'))", 'EROFS'],
  ["os.mkdir(P('d'))", 'EEXIST'],
  ["os.rmdir(P('d/sub'))", 'EROFS'],
  ["os.unlink(P('file'))", 'EROFS'],
  ["os.unlink(P('none'))", 'EROFS'],
  ["os.rename(P('file'), P('other'))", 'EROFS'],
  ["os.rename(P('d'), P('e'))", 'EROFS'],
  ["os.rename(P('file'), '/proc/self/x')", 'EXDEV'],
  ["os.link(P('file'), P('other'))", 'EROFS'],
  ["os.symlink('file', P('other'))", 'EROFS'],
  ["os.mkfifo(P('other'))", 'EROFS'],
  ["os.mknod(P('other'), stat.S_IFCHR | 0o600, os.makedev(1, 3))", 'EROFS'],
  ["os.chmod(P('file'), 0o600)", 'EROFS'],
  ['os.fchmod(fd(), 0o600)', 'EROFS'],
  ["os.chown(P('file'), 1, 1)", 'EROFS'],
  ["os.lchown(P('link'), 1, 1)", 'EROFS'],
  ["os.utime(P('file'))", 'EROFS'],
  ['os.utime(fd())', 'EROFS'],
  ["os.truncate(P('file'), 0)", 'EROFS'],
  ['os.ftruncate(fd(), 0)', 'EINVAL'],
  ["os.write(fd(), b'x')", 'EBADF'],
  ['os.posix_fallocate(fd(), 0, 10)', 'EBADF'],
  ["os.setxattr(P('file'), 'user.new', b'x')", 'EROFS'],
  ["os.removexattr(P('file'), 'user.colour')", 'EROFS'],
  ["os.access(P('file'), os.W_OK)", false],
  ["failing(libc.access(os.fsencode(P('file')), 2))", 'EROFS'],
  ["failing(libc.access(os.fsencode(P('file')), 4))", 0],
  // FS_IOC_GETFLAGS and FS_IOC_SETFLAGS.
  ['fcntl.ioctl(fd(), 0x80086601, bytes(8))', 'ENOTTY'],
  ['fcntl.ioctl(fd(), 0x40086602, bytes(8))', 'EROFS'],
  ['does(os.fsync(fd()))', 'done'],
  ["does(os.fdatasync(fd('d')))", 'done'],
];

const ATTRIBUTES: readonly Row[] = [
  ["[st('file').st_mode, st('file').st_uid, st('file').st_gid]", [0o100640, 12, 34]],
  ["[st('file').st_size, st('file').st_blocks, st('file').st_nlink]", [7, 1, 1]],
  ["[st('file').st_mtime_ns, st('file').st_blksize]", [MTIME * 1e9, 4096]],
  ["st('file').st_mtime_ns == st('file').st_ctime_ns == st('file').st_atime_ns", true],
  [`st('large').st_blocks * 512 - ${LARGE_BYTES} < 512`, true],
  ["[st('first').st_nlink, st('first').st_ino == st('second').st_ino]", [2, true]],
  ["[st('link').st_size, oct(st('link').st_mode)]", [4, '0o120777']],
  ["st('d').st_dev == st('file').st_dev == os.stat(TOP).st_dev", true],
  ["st('d/..').st_ino == os.stat(TOP).st_ino", true],
  ["st('d/sub/..').st_ino == st('d').st_ino", true],
  ['os.path.ismount(TOP)', true],
  ["stat.S_ISFIFO(st('fifo').st_mode)", true],
  ["stat.S_ISSOCK(st('socket').st_mode)", true],
  ["[stat.S_ISCHR(st('char').st_mode), st('char').st_rdev]", [true, 0x103]],
  ["[stat.S_ISBLK(st('block').st_mode), st('block').st_rdev]", [true, 0x103]],
  ['os.statvfs(TOP).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV)', 7],
  ['[os.statvfs(TOP).f_namemax, os.statvfs(TOP).f_bsize]', [255, 4096]],
  ['[os.statvfs(TOP).f_bfree, os.statvfs(TOP).f_bavail, os.statvfs(TOP).f_ffree]', [0, 0, 0]],
  ['os.statvfs(TOP).f_files > 1500', true],
  ["os.statvfs(P('d/sub/c')).f_blocks == os.statvfs(TOP).f_blocks > 700", true],
  ["os.getxattr(P('file'), 'user.colour').decode()", 'green'],
  ["os.getxattr(fd(), 'user.colour').decode()", 'green'],
  ["os.getxattr(P('file'), 'user.none')", 'ENODATA'],
  ["os.getxattr(P('link'), 'user.colour', follow_symlinks=False)", 'ENODATA'],
  ["os.listxattr(P('file'))", ['user.colour']],
  ["os.listxattr(P('d'))", []],
  ["failing(libc.getxattr(os.fsencode(P('file')), b'user.colour', None, 0))", 5],
  [
    "failing(libc.getxattr(os.fsencode(P('file')), b'user.colour', ctypes.create_string_buffer(4), 4))",
    'ERANGE',
  ],
  ["failing(libc.listxattr(os.fsencode(P('file')), ctypes.create_string_buffer(4), 4))", 'ERANGE'],
  ["failing(libc.getxattr(os.fsencode(P('file')), b'colour', None, 0))", 'ENODATA'],
];

const DIRECTORIES: readonly Row[] = [
  ["sorted(os.listdir(P('d')))", ['a', 'b', 'sub']],
  ["len(set(os.listdir(P('many'))))", 1500],
  ["seeks('many')", true],
  ["seeks('d')", true],
  ["names(libc.opendir(os.fsencode(P('d'))))[:2]", ['.', '..']],
  [
    "sorted([e.name, e.is_dir(follow_symlinks=False), e.inode() == e.stat().st_ino] for e in os.scandir(P('d')))",
    [
      ['a', false, true],
      ['b', false, true],
      ['sub', true, true],
    ],
  ],
  ["os.listdir(P('file'))", 'ENOTDIR'],
  ["os.read(fd('d'), 10)", 'EISDIR'],
  ["os.lseek(fd('d'), -1, os.SEEK_SET)", 'EINVAL'],
  ["sorted(os.listdir(os.open('d', os.O_RDONLY, dir_fd=os.open(TOP, os.O_RDONLY))))", ['a', 'b', 'sub']],
  ["os.readlink(P('link'))", 'file'],
  ["os.readlink(P('file'))", 'EINVAL'],
  ["read('up')", 'content'],
  ["os.chdir(P('d/sub')) or os.getcwd() == os.path.realpath(P('d/sub'))", true],
  ["os.chdir(P('file'))", 'ENOTDIR'],
];

const READING: readonly Row[] = [
  ['os.pread(fd(), 100, 3).decode()', 'tent'],
  ['os.pread(fd(), 100, 7).decode()', ''],
  ['os.pread(fd(), 100, 1 << 40).decode()', ''],
  ['os.pread(fd(), 1, -1)', 'EINVAL'],
  ["read('empty')", ''],
  [`len(b''.join(iter(lambda d=fd('large'): os.read(d, 12345), b'')))`, LARGE_BYTES],
  ["os.pread(fd('large'), 14, 7 * 200000).decode()", 'abcdefgabcdefg'],
  ['os.lseek(fd(), 0, os.SEEK_END)', 7],
  ['os.lseek(fd(), -1, os.SEEK_SET)', 'EINVAL'],
  ['os.lseek(fd(), 1, os.SEEK_DATA)', 1],
  ['os.lseek(fd(), 1, os.SEEK_HOLE)', 7],
  ['os.lseek(fd(), 7, os.SEEK_DATA)', 'ENXIO'],
  ['os.lseek(fd(), 8, os.SEEK_HOLE)', 'ENXIO'],
  ["direct('large', 1 << 20)", true],
  ["[does(os.posix_fadvise(fd('large'), 0, 0, how)) for how in range(6)]", Array(6).fill('done')],
  ["failing(libc.readahead(fd('large'), ctypes.c_long(0), 1 << 20))", 0],
  ['to_temporary(lambda a, b: os.sendfile(b, a, 0, 100))', 'content'],
  ['to_temporary(lambda a, b: os.copy_file_range(a, b, 100))', 'EXDEV'],
  ["mapped('file', mmap.MAP_PRIVATE, mmap.PROT_READ)", 'content'],
  ["mapped('file', mmap.MAP_SHARED, mmap.PROT_READ)", 'content'],
  ["mapped('file', mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)", 'content'],
  ["mapped('file', mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)", 'EACCES'],
  ["changed_privately('file')", 'Content content'],
  ['locked(fcntl.LOCK_SH)', 'EAGAIN'],
  ['locked(fcntl.LOCK_EX)', 'EAGAIN'],
  ['record_locked(fcntl.LOCK_SH)', 'locked'],
  ['record_locked(fcntl.LOCK_EX)', 'EBADF'],
  ["by_handle('file')", true],
  ["by_handle('d/sub')", true],
];

const RUNNING: readonly Row[] = [
  ["run('script')", 'ran'],
  ["run('plain')", 'EACCES'],
  ["run('d')", 'EACCES'],
  ["os.open(P('char'), os.O_RDONLY)", 'EACCES'],
  ["os.open(P('block'), os.O_RDONLY)", 'EACCES'],
  ["opens('fifo', os.O_RDONLY | os.O_NONBLOCK)", 'opened'],
  ["opens('fifo', os.O_WRONLY | os.O_NONBLOCK)", 'ENXIO'],
  ["opens('socket')", 'ENXIO'],
  ["socket.socket(socket.AF_UNIX).connect(P('socket'))", 'ECONNREFUSED'],
];

const NOBODY: readonly Row[] = [
  ["read('secret')", 'EACCES'],
  ["read('file')", 'EACCES'],
  ["read('ours')", 'ours'],
  ["opens('large', os.O_RDONLY | os.O_NOATIME)", 'EPERM'],
  ["os.listdir(P('closed'))", 'EACCES'],
  ["read('closed/inside')", 'EACCES'],
  ["os.listdir(P('passage'))", 'EACCES'],
  ["read('passage/inside')", 'inside'],
  ["os.access(P('secret'), os.R_OK)", false],
  ["os.access(P('script'), os.X_OK)", true],
  ["os.access(P('plain'), os.X_OK)", false],
  ["run('script')", 'ran'],
  // The set-user-id bit is there and does not count.
  ["[run('id', '-u'), oct(st('id').st_mode)]", ['65534', '0o104755']],
  ["os.chmod(P('large'), 0o777)", 'EROFS'],
  ["os.mkdir(P('new'))", 'EROFS'],
  [
    "handle('file') and failing(libc.open_by_handle_at(os.open(TOP, os.O_RDONLY), handle('file'), 0))",
    'EPERM',
  ],
];

const python = '/usr/bin/python3';
const script = new URL('../support/posix-cases.py', import.meta.url).pathname;

async function evaluate(mountpoint: string, user: string, rows: readonly Row[]): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const child = execFile(python, [script, mountpoint, user], (error, stdout) => {
      if (error === null) resolve(JSON.parse(stdout) as unknown[]);
      else reject(error);
    });
    child.stdin!.end(JSON.stringify(rows.map(([expression]) => expression)));
  });
}

describe('a read-only file system as POSIX and Linux describe it', needs('fuse', 'python'), () => {
  const scope = { clean: [] as (() => void)[] };
  const t = { after: (clean: () => void) => void scope.clean.push(clean) } as TestContext;
  let mountpoint = '';

  before(async () => {
    const published = await publishRepository(t);
    const { rootCatalog } = await published.publish(TREE, undefined, change);
    const scratch = scratchFolder(t);
    // For the one who is not root.
    chmodSync(scratch, 0o755);
    mountpoint = join(scratch, 'mount');
    mkdirSync(mountpoint);
    const fd = holdMount(t, mountpoint);
    await FuseProcess.start(t, fd, { server: published.storage, rootHash: rootCatalog });
  });
  after(() => {
    for (const clean of scope.clean.reverse()) clean();
  });

  for (const [what, user, rows] of [
    ['opening', 'root', OPENING],
    ['what would write', 'root', WRITING],
    ['attributes', 'root', ATTRIBUTES],
    ['directories and links', 'root', DIRECTORIES],
    ['reading, mapping and locking', 'root', READING],
    ['programs and special files', 'root', RUNNING],
    ['permissions of somebody else', 'nobody', NOBODY],
  ] as const) {
    test(what, async (t) => {
      const outcomes = await evaluate(mountpoint, user, rows);
      for (const [i, [expression, expected]] of rows.entries()) {
        await t.test(expression, () => assert.deepEqual(outcomes[i], expected));
      }
    });
  }
});
