import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  ask,
  askRaw,
  cString,
  filling,
  listing,
  readBody,
  reply,
  request,
  sessionOf,
  sized,
  tableReply,
  UNIQUE,
  u32,
} from '../../test/support/fuse-session.ts';
import { ascii, type Bytes, byteStringOf, bytesOf, concatBytes } from '../core/bytes/byte-string.ts';
import * as errno from '../core/errno.ts';
import { ThimbleError } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import { type Attributes, type Need, type NodeId, NotYet, S_IFREG, type Vfs } from '../core/vfs.ts';
import * as abi from './abi.ts';
import { MAX_READ_BYTES } from './negotiation.ts';
import { OPERATIONS } from './operations.ts';
import { LATER, NO_REPLY } from './session.ts';

// ---- INIT ----

const ALL_FLAGS = 0xffffffff;
const init = (fields: Parameters<typeof abi.FuseInitIn.encode>[0]) =>
  ask(
    sessionOf(),
    abi.FUSE_INIT,
    abi.FuseInitIn.encode({ major: 7, minor: 38, maxReadahead: 131072, ...fields }),
  );

test('INIT settles on the lower of both minor versions', () => {
  for (const [asked, granted] of [
    [31, 31],
    [38, 38],
    [41, 41],
    [45, abi.FUSE_MINOR],
  ] as const) {
    assert.equal(abi.FuseInitOut.decode(init({ minor: asked }).body).minor, granted);
  }
});

test('INIT grants only flags that the kernel has offered', () => {
  const wanted = abi.FuseInitOut.decode(init({ flags: ALL_FLAGS }).body).flags;
  assert.ok((wanted & abi.INIT_DO_READDIRPLUS) !== 0 && (wanted & abi.INIT_MAX_PAGES) !== 0);
  fc.assert(
    fc.property(u32, (flags) => {
      assert.equal(abi.FuseInitOut.decode(init({ flags }).body).flags, (flags & wanted) >>> 0);
    }),
  );
});

test('INIT asks for reads of a megabyte, and replies in the size that kernels since 7.23 expect', () => {
  const { body } = init({ flags: ALL_FLAGS });
  const granted = abi.FuseInitOut.decode(body);
  assert.equal(body.length, 64);
  assert.deepEqual(
    [granted.major, granted.maxReadahead, granted.maxPages],
    [7, MAX_READ_BYTES, MAX_READ_BYTES / 4096],
  );
  assert.equal(abi.FuseInitOut.decode(init({ maxReadahead: 2 ** 31 }).body).maxReadahead, 2 ** 31);
});

test('INIT of a kernel since 7.36, which sends 64 bytes, is understood', () => {
  const body = concatBytes([abi.FuseInitIn.encode({ major: 7, minor: 39 }), new Uint8Array(48)]);
  assert.equal(abi.FuseInitOut.decode(ask(sessionOf(), abi.FUSE_INIT, body).body).minor, 39);
});

for (const [major, minor] of [
  [6, 40],
  [8, 0],
  [7, 30],
  [7, 0],
] as const) {
  test(`INIT of protocol ${major}.${minor} is refused`, () =>
    assert.equal(init({ major, minor }).error, errno.EINVAL));
}

// ---- dispatch ----

const READ_ONLY = [
  'SETATTR',
  'SYMLINK',
  'MKNOD',
  'MKDIR',
  'UNLINK',
  'RMDIR',
  'RENAME',
  'RENAME2',
  'LINK',
  'WRITE',
].concat(['SETXATTR', 'REMOVEXATTR', 'CREATE', 'FALLOCATE', 'TMPFILE']);
const WITH_FIXED_ERROR: Readonly<Record<string, number>> = {
  ...Object.fromEntries(READ_ONLY.map((name) => [name, errno.EROFS])),
  // ENOSYS: works without, never ask again.
  ...Object.fromEntries(['OPEN', 'OPENDIR', 'FLUSH', 'ACCESS'].map((name) => [name, errno.ENOSYS])),
  IOCTL: errno.ENOTTY,
  RELEASE: 0,
  RELEASEDIR: 0,
  DESTROY: 0,
};

for (const [name, error] of Object.entries(WITH_FIXED_ERROR)) {
  test(`${name} is answered with ${error}`, () => {
    const opcode = OPERATIONS.findIndex((operation) => operation?.name === name);
    const { error: actual, body } = ask(sessionOf(), opcode, new Uint8Array(64));
    assert.deepEqual([actual, body.length], [error, 0]);
  });
}

test('OPEN is answered for real with direct I/O: past the page cache for files that ask for it, not for others', () => {
  const session = sessionOf({ readsDirectly: (node) => node === 5 }, { directIo: true });
  for (const [node, flags] of [
    [5n, abi.FOPEN_DIRECT_IO],
    [6n, abi.FOPEN_KEEP_CACHE],
  ] as const) {
    const { error, bytes } = ask(session, abi.FUSE_OPEN, new Uint8Array(8), node);
    assert.equal(error, 0);
    assert.deepEqual(bytes, tableReply(abi.FuseOpenOut.encode({ openFlags: flags | abi.FOPEN_NOFLUSH })));
  }
});

test('every opcode of the protocol has an operation of its name', () => {
  const opcodes = Object.entries(abi).filter(
    ([name, value]) => /^FUSE_(?!M(AJ|IN)OR)/.test(name) && typeof value === 'number',
  );
  assert.deepEqual(
    opcodes.map(([, opcode]) => `FUSE_${OPERATIONS[opcode as number]?.name}`),
    opcodes.map(([name]) => name),
  );
});

test('FORGET and BATCH_FORGET are not answered', () => {
  assert.equal(askRaw(sessionOf(), abi.FUSE_FORGET, new Uint8Array(8)), NO_REPLY);
  assert.equal(askRaw(sessionOf(), abi.FUSE_BATCH_FORGET, new Uint8Array(24)), NO_REPLY);
});

test('unknown opcodes are answered with ENOSYS', () => {
  const session = sessionOf();
  for (const opcode of [0, 7, 20, 31, 37, 40, 46, 47, 50, 52, 63, 64, 4096, 0x7fffffff, 0xffffffff]) {
    assert.equal(ask(session, opcode).error, errno.ENOSYS, `opcode ${opcode}`);
  }
});

test('INTERRUPT is handed on to the adapter, without a need', () => {
  const session = sessionOf({ getattr: () => undefined });
  session.need = { kind: 'catalog' } as Need;
  assert.equal(askRaw(session, abi.FUSE_INTERRUPT, abi.FuseInterruptIn.encode({ unique: 5n })), LATER);
  assert.equal(session.need, undefined);
});

test('requests are counted by opcode', () => {
  const session = sessionOf();
  for (const opcode of [abi.FUSE_GETATTR, abi.FUSE_GETATTR, abi.FUSE_STATFS, 0x7fffffff])
    ask(session, opcode);
  assert.deepEqual([session.counts[abi.FUSE_GETATTR], session.counts[abi.FUSE_STATFS]], [2, 1]);
  assert.equal(
    session.counts.reduce((sum, count) => sum + count),
    3,
  );
});

test('fail() writes the error reply to a request, when waiting was in vain', () => {
  const session = sessionOf();
  askRaw(session, abi.FUSE_GETATTR);
  reply.fill(0xee, 0, 64);
  const length = session.fail(request, reply, errno.EIO);
  assert.deepEqual(
    reply.slice(0, length),
    abi.FuseOutHeader.encode({ len: 16, error: -errno.EIO, unique: UNIQUE }),
  );
});

test('a session follows its buffers when they change, also to views within larger memory', () => {
  const session = sessionOf({ readlink: () => ascii('target') });
  ask(session, abi.FUSE_READLINK);
  const elsewhere = new Uint8Array(256).subarray(64, 128);
  const answer = new Uint8Array(256).subarray(128);
  elsewhere.set(abi.FuseInHeader.encode({ opcode: abi.FUSE_READLINK, unique: 6n, nodeid: 1n }));
  const length = session.handle(elsewhere, abi.FuseInHeader.size, answer);
  assert.equal(abi.FuseOutHeader.decode(answer).unique, 6n);
  assert.equal(byteStringOf(answer, 16, length), 'target');
});

const NEED: Need = {
  kind: 'catalog',
  hash: '0'.repeat(40) as never,
  sizeBytes: 1,
  mountpoint: ascii('/usr'),
};

/** A request of each operation that asks the file system. */
const ASKING: readonly [name: string, method: keyof Vfs, opcode: number, body: Bytes][] = [
  ['LOOKUP', 'lookup', abi.FUSE_LOOKUP, cString('a')],
  ['GETATTR', 'getattr', abi.FUSE_GETATTR, new Uint8Array(16)],
  ['READLINK', 'readlink', abi.FUSE_READLINK, new Uint8Array(0)],
  ['READ', 'read', abi.FUSE_READ, readBody(0n, 4096)],
  ['READDIR', 'readdir', abi.FUSE_READDIR, readBody(0n, 4096)],
  ['READDIRPLUS', 'readdir', abi.FUSE_READDIRPLUS, readBody(0n, 4096)],
  ['GETXATTR', 'getxattr', abi.FUSE_GETXATTR, concatBytes([sized(0), cString('a')])],
  ['LISTXATTR', 'listxattr', abi.FUSE_LISTXATTR, sized(0)],
  ['STATFS', 'statfs', abi.FUSE_STATFS, new Uint8Array(0)],
];

for (const [name, method, opcode, body] of ASKING) {
  test(`${name} on a damaged file system is answered with an error, which is logged`, () => {
    const lines: string[] = [];
    const log = { ...silentLog, error: (message: string) => void lines.push(message) };
    for (const [thrown, expected] of [
      [new ThimbleError('INTEGRITY', 'Cannot read'), errno.EIO],
      [new ThimbleError('CANCELLED', 'Cannot wait'), errno.EINTR],
      [new TypeError('x is undefined'), errno.EIO],
    ] as const) {
      const session = sessionOf(
        {
          [method]: () => {
            throw thrown;
          },
        },
        { log },
      );
      const { error, body: rest } = ask(session, opcode, body);
      assert.deepEqual([error, rest.length], [expected, 0]);
    }
    assert.deepEqual(lines, new Array(3).fill(`${name} failed`));
  });

  if (!['lookup', 'read', 'readdir'].includes(method)) continue;
  test(`${name} is answered later where something is missing, and says what`, () => {
    const session = sessionOf({ [method]: () => new NotYet(NEED) });
    assert.equal(askRaw(session, opcode, body), LATER);
    assert.equal(session.need, NEED);
  });
}

// ---- damaged requests ----

const LONE: Attributes = {
  ...{ node: 5 as NodeId, inodeHigh: 0, inodeLow: 5, mode: S_IFREG | 0o644, linkCount: 1, uid: 0, gid: 0 },
  ...{ sizeBytes: 3, rdev: 0, mtimeSeconds: 0, mtimeNs: 0 },
};

/** Answers everything, so that requests are followed as far as they go. */
const FULL: Partial<Vfs> = {
  ...listing([{ name: bytesOf(ascii('entry')), attributes: LONE, cookie: 1 }]),
  lookup: () => LONE,
  getattr: () => LONE,
  readlink: () => ascii('target'),
  read: filling(1),
  getxattr: () => Uint8Array.of(1, 2, 3),
  listxattr: () => [ascii('user.a')],
};

function assertSound(length: number, capacity: number): void {
  if (length === NO_REPLY || length === LATER) return;
  const { len, error } = abi.FuseOutHeader.decode(reply);
  assert.equal(len, length);
  assert.ok(length >= abi.FuseOutHeader.size && length <= capacity);
  // What the kernel accepts as an error.
  assert.ok(error <= 0 && error > -1000);
}

test('a request that is shorter than its header is ignored', () => {
  const session = sessionOf(FULL);
  for (let length = 0; length < abi.FuseInHeader.size; length++) {
    assert.equal(session.handle(request, length, reply), NO_REPLY);
  }
});

for (const [opcode, operation] of OPERATIONS.entries()) {
  if (operation === undefined) continue;
  test(`${operation.name} with any bytes, at any length, is answered soundly; cut short, with EINVAL`, () => {
    const session = sessionOf(FULL);
    for (let length = 0; length < operation.bodyBytes; length++) {
      assert.equal(ask(session, opcode, new Uint8Array(length).fill(0x41)).error, errno.EINVAL);
    }
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 80 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (body, node) => {
          assertSound(askRaw(session, opcode, body, node), reply.length);
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });
}

test('any bytes at all are answered soundly or ignored', () => {
  const session = sessionOf(FULL);
  const header = fc.tuple(u32, fc.oneof(fc.nat(60), u32), fc.uint8Array({ maxLength: 100 }));
  fc.assert(
    fc.property(header, ([len, opcode, rest]) => {
      request.set(abi.FuseInHeader.encode({ len, opcode }));
      request.set(rest, 8);
      assertSound(session.handle(request, 8 + rest.length, reply), reply.length);
    }),
    { seed: 1, numRuns: 3000 },
  );
});
