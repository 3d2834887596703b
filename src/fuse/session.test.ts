import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  ascii,
  type ByteString,
  type Bytes,
  byteStringOf,
  bytesOf,
  concatBytes,
} from '../core/bytes/byte-string.ts';
import * as errno from '../core/errno.ts';
import { ThimbleError } from '../core/errors.ts';
import { silentLog } from '../core/ports.ts';
import {
  type Attributes,
  type Need,
  type NodeId,
  NotYet,
  ROOT_NODE,
  S_IFDIR,
  S_IFREG,
  type Vfs,
} from '../core/vfs.ts';
import * as abi from './abi.ts';
import {
  FuseSession,
  LATER,
  MAX_READ_BYTES,
  NO_REPLY,
  OPERATIONS,
  REPLY_BUFFER_BYTES,
  REQUEST_BUFFER_BYTES,
} from './session.ts';

const VALID_SECONDS = 1000;
const UNIQUE = 0x8877665544332211n;

/** A file system where nothing is, unless a test says otherwise. */
function emptyVfs(over: Partial<Vfs> = {}): Vfs {
  return {
    lookup: () => undefined,
    getattr: () => undefined,
    readdir: () => false,
    readlink: () => undefined,
    read: () => 0,
    getxattr: () => undefined,
    listxattr: () => [],
    statfs: () => ({ blockSizeBytes: 4096, blocks: 0, files: 0 }),
    ...over,
  };
}

// Shared by all tests, as a mount uses the same two again and again: what one reply leaves behind, the next one meets.
const request = new Uint8Array(REQUEST_BUFFER_BYTES);
const reply = new Uint8Array(REPLY_BUFFER_BYTES);

interface Reply {
  readonly error: number;
  readonly body: Bytes;
  readonly bytes: Bytes;
}

/** Sends one request and checks the header of the reply. */
function ask(session: FuseSession, opcode: number, body: Bytes = new Uint8Array(0), nodeid = 1n): Reply {
  const result = askRaw(session, opcode, body, nodeid);
  assert.ok(result > 0, `a reply was expected, not ${result}`);
  const { len, error, unique } = abi.FuseOutHeader.decode(reply);
  assert.deepEqual([len, unique], [result, UNIQUE]);
  const bytes = reply.slice(0, result);
  return { error: 0 - error, body: bytes.subarray(abi.FuseOutHeader.size), bytes };
}

function askRaw(session: FuseSession, opcode: number, body: Bytes = new Uint8Array(0), nodeid = 1n): number {
  const len = abi.FuseInHeader.size + body.length;
  request.set(abi.FuseInHeader.encode({ len, opcode, unique: UNIQUE, nodeid, uid: 5, gid: 6, pid: 7 }));
  request.set(body, abi.FuseInHeader.size);
  reply.fill(0xee, 0, 4096);
  return session.handle(request, len, reply);
}

const sessionOf = (vfs: Partial<Vfs> = {}, options: object = {}) =>
  new FuseSession(emptyVfs(vfs), { validSeconds: VALID_SECONDS, ...options });

/** The reply that the tables make. */
const tableReply = (...body: Bytes[]) => {
  const whole = concatBytes(body);
  return concatBytes([
    abi.FuseOutHeader.encode({ len: abi.FuseOutHeader.size + whole.length, unique: UNIQUE }),
    whole,
  ]);
};

const cString = (name: string) => bytesOf(ascii(`${name}\0`));

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const anyAttributes: fc.Arbitrary<Attributes> = fc.record({
  node: fc.nat(Number.MAX_SAFE_INTEGER).map((node) => node as NodeId),
  inodeHigh: u32,
  inodeLow: u32,
  mode: fc.constantFrom(0o040755, 0o100644, 0o104755, 0o120777, 0o020666, 0o060660, 0o010644, 0o140755),
  linkCount: u32,
  uid: u32,
  gid: u32,
  sizeBytes: fc.oneof(fc.nat(5000), fc.nat(Number.MAX_SAFE_INTEGER)),
  rdev: u32,
  mtimeSeconds: fc.oneof(fc.integer(), fc.integer({ min: -(2 ** 40), max: 2 ** 40 })),
  mtimeNs: fc.nat(999_999_999),
});

function attrFields(attributes: Attributes) {
  const seconds = BigInt.asUintN(64, BigInt(attributes.mtimeSeconds));
  const { mode, linkCount: nlink, uid, gid, rdev, mtimeNs: nsec } = attributes;
  return {
    ino: (BigInt(attributes.inodeHigh) << 32n) | BigInt(attributes.inodeLow),
    size: BigInt(attributes.sizeBytes),
    blocks: (BigInt(attributes.sizeBytes) + 511n) / 512n,
    ...{ atime: seconds, mtime: seconds, ctime: seconds, atimensec: nsec, mtimensec: nsec, ctimensec: nsec },
    ...{ mode, nlink, uid, gid, rdev, blksize: 4096 },
  };
}

const entryOut = (attributes: Attributes) =>
  abi.FuseEntryOut.encode({
    nodeid: BigInt(attributes.node),
    entryValid: BigInt(VALID_SECONDS),
    attrValid: BigInt(VALID_SECONDS),
    ...attrFields(attributes),
  });

// ---- hot replies against the tables ----

test('LOOKUP replies with what the table of fuse_entry_out makes, for any attributes', () => {
  fc.assert(
    fc.property(anyAttributes, fc.bigInt({ min: 1n, max: 2n ** 53n - 1n }), (attributes, parent) => {
      let asked: unknown;
      const session = sessionOf({
        lookup: (node, name) => {
          asked = [node, byteStringOf(name)];
          return attributes;
        },
      });
      const { bytes } = ask(session, abi.FUSE_LOOKUP, cString('na\xff'), parent);
      assert.deepEqual(asked, [Number(parent), 'na\xff']);
      assert.deepEqual(bytes, tableReply(entryOut(attributes)));
    }),
  );
});

test('LOOKUP of an absent name replies with node 0, so that the kernel remembers its absence', () => {
  const { bytes } = ask(sessionOf(), abi.FUSE_LOOKUP, cString('absent'));
  assert.deepEqual(bytes, tableReply(abi.FuseEntryOut.encode({ entryValid: BigInt(VALID_SECONDS) })));
});

test('GETATTR replies with what the table of fuse_attr_out makes, for any attributes', () => {
  fc.assert(
    fc.property(anyAttributes, (attributes) => {
      const { bytes } = ask(sessionOf({ getattr: () => attributes }), abi.FUSE_GETATTR);
      const expected = abi.FuseAttrOut.encode({
        attrValid: BigInt(VALID_SECONDS),
        ...attrFields(attributes),
      });
      assert.deepEqual(bytes, tableReply(expected));
    }),
  );
});

const readBody = (offset: bigint, size: number) => abi.FuseReadIn.encode({ fh: 9n, offset, size });

test('READ replies with the bytes of the file alone, at any offset below 2^53', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 500 }),
      fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
      u32,
      (content, offset, size) => {
        let asked: unknown;
        const session = sessionOf({
          read: (node, from, length, into, at) => {
            asked = [node, from, length];
            into.set(content, at);
            return content.length;
          },
        });
        const { bytes } = ask(session, abi.FUSE_READ, readBody(offset, size), 77n);
        assert.deepEqual(asked, [77, Number(offset), Math.min(size, MAX_READ_BYTES)]);
        assert.deepEqual(bytes, tableReply(content));
      },
    ),
  );
});

/** A file without an end, of one byte again and again. */
const filling =
  (byte: number): Vfs['read'] =>
  (_, __, length, into, at) => {
    into.fill(byte, at, at + length);
    return length;
  };

test('READ fills the reply buffer to its last byte', () => {
  const session = sessionOf({ read: filling(0x55) });
  const { body } = ask(session, abi.FUSE_READ, readBody(0n, 0xffffffff));
  assert.equal(body.length, MAX_READ_BYTES);
  assert.ok(body.every((byte) => byte === 0x55));
});

interface Listed {
  readonly name: Bytes;
  readonly attributes: Attributes;
  readonly cookie: number;
}

const anyListing = fc
  .array(
    fc.tuple(
      fc.uint8Array({ minLength: 1, maxLength: 255 }),
      anyAttributes,
      fc.integer({ min: 1, max: 2 ** 40 }),
    ),
    {
      maxLength: 12,
    },
  )
  .map((entries) => {
    let cookie = 0;
    return entries.map(
      ([name, attributes, step]): Listed => ({ name, attributes, cookie: (cookie += step) }),
    );
  });

/** A file system whose root has these entries; names are handed out from within a larger buffer, as records are. */
const listing = (entries: readonly Listed[]): Partial<Vfs> => ({
  readdir: (_, after, visit) => {
    for (const { name, attributes, cookie } of entries) {
      const record = concatBytes([Uint8Array.of(1, 2, 3), name, Uint8Array.of(9)]);
      if (cookie > after && !visit(record, 3, name.length, attributes, cookie)) break;
    }
    return true;
  },
});

/** One entry as the tables make it; `.` and `..` have no attributes. */
function direntOf(name: Bytes, off: number, attributes: Attributes | undefined, plus: boolean): Bytes {
  const parts: Bytes[] = [];
  if (plus) parts.push(attributes === undefined ? abi.FuseEntryOut.encode({}) : entryOut(attributes));
  parts.push(
    abi.FuseDirent.encode({
      ino: attributes === undefined ? BigInt(ROOT_NODE) : attrFields(attributes).ino,
      off: BigInt(off),
      namelen: name.length,
      type: ((attributes?.mode ?? S_IFDIR) >> 12) & 15,
    }),
    name,
    new Uint8Array((8 - (name.length % 8)) % 8),
  );
  return concatBytes(parts);
}

for (const [name, opcode, plus] of [
  ['READDIR', abi.FUSE_READDIR, false],
  ['READDIRPLUS', abi.FUSE_READDIRPLUS, true],
] as const) {
  test(`${name} replies with what the tables make, and goes on at any cookie in buffers of any size`, () => {
    fc.assert(
      fc.property(anyListing, fc.integer({ min: 416, max: 6000 }), (entries, size) => {
        const session = sessionOf(listing(entries));
        const expected = [
          direntOf(bytesOf(ascii('.')), 1, undefined, plus),
          direntOf(bytesOf(ascii('..')), 2, undefined, plus),
          ...entries.map((entry) => direntOf(entry.name, entry.cookie + 2, entry.attributes, plus)),
        ];
        const cookies = [0, 1, 2, ...entries.map(({ cookie }) => cookie + 2)];
        for (let sent = 0; ; ) {
          const { bytes } = ask(session, opcode, readBody(BigInt(cookies[sent]!), size));
          // As many whole entries as fit.
          let fitting = 0;
          let length = 0;
          while (sent + fitting < expected.length && length + expected[sent + fitting]!.length <= size)
            length += expected[sent + fitting++]!.length;
          assert.deepEqual(bytes, tableReply(...expected.slice(sent, sent + fitting)));
          sent += fitting;
          if (fitting === 0) {
            assert.equal(sent, expected.length);
            break;
          }
        }
      }),
    );
  });

  test(`${name} of what is no directory fails with ENOTDIR`, () => {
    assert.equal(ask(sessionOf(), opcode, readBody(0n, 4096)).error, errno.ENOTDIR);
  });

  test(`${name} replies with nothing where not even one entry fits`, () => {
    assert.equal(ask(sessionOf(listing([])), opcode, readBody(0n, 31)).body.length, 0);
    assert.equal(ask(sessionOf(listing([])), opcode, readBody(0n, 0)).body.length, 0);
  });
}

// ---- other replies ----

test('GETATTR of an unknown node fails with ESTALE', () => {
  assert.equal(ask(sessionOf(), abi.FUSE_GETATTR).error, errno.ESTALE);
});

test('READLINK replies with the bytes of the target', () => {
  const { bytes } = ask(sessionOf({ readlink: () => ascii('../\xff') }), abi.FUSE_READLINK);
  assert.deepEqual(bytes, tableReply(bytesOf(ascii('../\xff'))));
  assert.equal(ask(sessionOf(), abi.FUSE_READLINK).error, errno.EINVAL);
});

test('READLINK of a target that the kernel has no room for fails with ENAMETOOLONG', () => {
  const targetOf = (length: number) => sessionOf({ readlink: () => 'x'.repeat(length) as ByteString });
  assert.equal(ask(targetOf(4095), abi.FUSE_READLINK).body.length, 4095);
  for (const length of [4096, 2 * REPLY_BUFFER_BYTES]) {
    assert.equal(ask(targetOf(length), abi.FUSE_READLINK).error, errno.ENAMETOOLONG);
  }
});

const sized = (size: number) => abi.FuseGetxattrIn.encode({ size });

test('GETXATTR replies with the length, with the value, or with ERANGE, as the room is', () => {
  let asked: unknown;
  const session = sessionOf({
    getxattr: (node, name) => {
      asked = [node, name];
      return Uint8Array.of(1, 2, 3);
    },
  });
  const get = (size: number) =>
    ask(session, abi.FUSE_GETXATTR, concatBytes([sized(size), cString('user.\xff')]), 8n);
  assert.deepEqual(get(0).bytes, tableReply(abi.FuseGetxattrOut.encode({ size: 3 })));
  assert.deepEqual(asked, [8, 'user.\xff']);
  assert.equal(get(2).error, errno.ERANGE);
  assert.deepEqual(get(3).bytes, tableReply(Uint8Array.of(1, 2, 3)));
});

test('GETXATTR of an absent attribute fails with ENODATA', () => {
  const body = concatBytes([sized(0), cString('user.absent')]);
  assert.equal(ask(sessionOf(), abi.FUSE_GETXATTR, body).error, errno.ENODATA);
});

test('LISTXATTR replies with the length, with the names, or with ERANGE, as the room is', () => {
  const session = sessionOf({ listxattr: () => [ascii('user.a'), ascii('user.\xff')] });
  const list = (size: number) => ask(session, abi.FUSE_LISTXATTR, sized(size));
  assert.deepEqual(list(0).bytes, tableReply(abi.FuseGetxattrOut.encode({ size: 14 })));
  assert.equal(list(13).error, errno.ERANGE);
  assert.deepEqual(list(14).bytes, tableReply(cString('user.a'), cString('user.\xff')));
  assert.equal(ask(sessionOf(), abi.FUSE_LISTXATTR, sized(10)).body.length, 0);
});

test('attributes are never asked for again where they are switched off', () => {
  const session = sessionOf(
    { getxattr: () => Uint8Array.of(1), listxattr: () => [ascii('a')] },
    { withoutXattrs: true },
  );
  assert.equal(ask(session, abi.FUSE_GETXATTR, concatBytes([sized(0), cString('a')])).error, errno.ENOSYS);
  assert.equal(ask(session, abi.FUSE_LISTXATTR, sized(0)).error, errno.ENOSYS);
});

test('STATFS replies with blocks and files, none of them free', () => {
  const session = sessionOf({ statfs: () => ({ blockSizeBytes: 4096, blocks: 2 ** 40, files: 12 }) });
  assert.deepEqual(
    ask(session, abi.FUSE_STATFS).bytes,
    tableReply(
      abi.FuseKstatfs.encode({ blocks: 2n ** 40n, files: 12n, bsize: 4096, frsize: 4096, namelen: 255 }),
    ),
  );
});

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
  node: ROOT_NODE,
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
