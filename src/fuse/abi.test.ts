import assert from 'node:assert/strict';
import test from 'node:test';
import * as abi from './abi.ts';

// Sizes and offsets as a C compiler gives them for include/uapi/linux/fuse.h.
const LAYOUTS: readonly [
  layout: { name: string; size: number; offsets: object },
  size: number,
  offsets: object,
][] = [
  [abi.FuseInHeader, 40, { opcode: 4, unique: 8, nodeid: 16, uid: 24, gid: 28, pid: 32, totalExtlen: 36 }],
  [abi.FuseOutHeader, 16, { len: 0, error: 4, unique: 8 }],
  [
    abi.FuseAttr,
    88,
    { size: 8, mtime: 32, atimensec: 48, mode: 60, nlink: 64, rdev: 76, blksize: 80, flags: 84 },
  ],
  [
    abi.FuseEntryOut,
    128,
    { generation: 8, entryValid: 16, attrValid: 24, entryValidNsec: 32, ino: 40, mode: 100 },
  ],
  [abi.FuseAttrOut, 104, { attrValid: 0, attrValidNsec: 8, ino: 16, mode: 76 }],
  // Every kernel sends these; since 7.36 the structure has 64 bytes.
  [abi.FuseInitIn, 16, { major: 0, minor: 4, maxReadahead: 8, flags: 12 }],
  [abi.FuseInitInExt, 20, { flags: 12, flags2: 16 }],
  [
    abi.FuseInitOut,
    64,
    { maxBackground: 16, maxWrite: 20, timeGran: 24, maxPages: 28, flags2: 32, maxStackDepth: 36 },
  ],
  [abi.FuseOpenOut, 16, { fh: 0, openFlags: 8, backingId: 12 }],
  [abi.FuseReleaseIn, 24, { fh: 0, flags: 8, releaseFlags: 12, lockOwner: 16 }],
  [abi.FuseReadIn, 40, { fh: 0, offset: 8, size: 16, readFlags: 20, lockOwner: 24, flags: 32 }],
  [abi.FuseDirent, 24, { ino: 0, off: 8, namelen: 16, type: 20 }],
  [abi.FuseGetxattrIn, 8, { size: 0 }],
  [abi.FuseGetxattrOut, 8, { size: 0 }],
  [abi.FuseKstatfs, 80, { blocks: 0, files: 24, bsize: 40, namelen: 44, frsize: 48 }],
  [abi.FuseInterruptIn, 8, { unique: 0 }],
  [abi.FuseNotifyInvalInodeOut, 24, { ino: 0, off: 8, len: 16 }],
  [abi.FuseNotifyStoreOut, 24, { nodeid: 0, offset: 8, size: 16, padding: 20 }],
  [abi.FuseNotifyInvalEntryOut, 16, { parent: 0, namelen: 8, flags: 12 }],
];

for (const [{ name, size, offsets }, expectedSize, expectedOffsets] of LAYOUTS) {
  test(`${name} has the layout of the kernel`, () => {
    assert.equal(size, expectedSize);
    assert.partialDeepStrictEqual(offsets, expectedOffsets);
  });
}

test('the table of layouts is complete', () => {
  const structs = Object.values(abi).filter((value) => typeof value === 'object');
  assert.deepEqual(new Set(LAYOUTS.map(([layout]) => layout)), new Set<object>(structs));
});

// enum fuse_opcode of the kernel.
const OPCODES = `1 LOOKUP 2 FORGET 3 GETATTR 4 SETATTR 5 READLINK 6 SYMLINK 8 MKNOD 9 MKDIR 10 UNLINK 11 RMDIR
  12 RENAME 13 LINK 14 OPEN 15 READ 16 WRITE 17 STATFS 18 RELEASE 21 SETXATTR 22 GETXATTR 23 LISTXATTR 24 REMOVEXATTR
  25 FLUSH 26 INIT 27 OPENDIR 28 READDIR 29 RELEASEDIR 34 ACCESS 35 CREATE 36 INTERRUPT 38 DESTROY 39 IOCTL
  42 BATCH_FORGET 43 FALLOCATE 44 READDIRPLUS 45 RENAME2 51 TMPFILE`;

test('opcodes have the numbers of the kernel', () => {
  const names = Object.entries(abi).flatMap(([name, value]) =>
    typeof value === 'number' && /^FUSE_(?!M(AJ|IN)OR)/.test(name) ? [`${value} ${name.slice(5)}`] : [],
  );
  assert.deepEqual(names.sort(), OPCODES.match(/\d+ \w+/g)!.sort());
});
