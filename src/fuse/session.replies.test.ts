/** Replies to what is asked of the file system; the hot ones, written by hand, against the tables. */

import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  anyAttributes,
  ask,
  attrFields,
  cString,
  entryOut,
  filling,
  type Listed,
  listing,
  readBody,
  sessionOf,
  sized,
  tableReply,
  u32,
  VALID_SECONDS,
} from '../../test/support/fuse-session.ts';
import {
  ascii,
  type ByteString,
  type Bytes,
  byteStringOf,
  bytesOf,
  concatBytes,
} from '../core/bytes/byte-string.ts';
import * as errno from '../core/errno.ts';
import { type Attributes, ROOT_NODE, S_IFDIR } from '../core/vfs.ts';
import * as abi from './abi.ts';
import { MAX_READ_BYTES } from './negotiation.ts';
import { REPLY_BUFFER_BYTES } from './session.ts';

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

test('READ fills the reply buffer to its last byte', () => {
  const session = sessionOf({ read: filling(0x55) });
  const { body } = ask(session, abi.FUSE_READ, readBody(0n, 0xffffffff));
  assert.equal(body.length, MAX_READ_BYTES);
  assert.ok(body.every((byte) => byte === 0x55));
});

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
