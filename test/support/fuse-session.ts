/** A FUSE session over a file system that a test writes down, and the replies that the tables of `abi.ts` make. */

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ascii, type Bytes, bytesOf, concatBytes } from '../../src/core/bytes/byte-string.ts';
import type { Attributes, NodeId, Vfs } from '../../src/core/vfs.ts';
import * as abi from '../../src/fuse/abi.ts';
import { FuseSession, REPLY_BUFFER_BYTES, REQUEST_BUFFER_BYTES } from '../../src/fuse/session.ts';

export const VALID_SECONDS = 1000;
export const UNIQUE = 0x8877665544332211n;

/** A file system where nothing is, unless a test says otherwise. */
function emptyVfs(over: Partial<Vfs> = {}): Vfs {
  return {
    lookup: () => undefined,
    getattr: () => undefined,
    readdir: () => false,
    readlink: () => undefined,
    read: () => 0,
    readsDirectly: () => false,
    getxattr: () => undefined,
    listxattr: () => [],
    statfs: () => ({ blockSizeBytes: 4096, blocks: 0, files: 0 }),
    ...over,
  };
}

// Shared by all tests, as a mount uses the same two again and again: what one reply leaves behind, the next one meets.
export const request = new Uint8Array(REQUEST_BUFFER_BYTES);
export const reply = new Uint8Array(REPLY_BUFFER_BYTES);

interface Reply {
  readonly error: number;
  readonly body: Bytes;
  readonly bytes: Bytes;
}

/** Sends one request and checks the header of the reply. */
export function ask(
  session: FuseSession,
  opcode: number,
  body: Bytes = new Uint8Array(0),
  nodeid = 1n,
): Reply {
  const result = askRaw(session, opcode, body, nodeid);
  assert.ok(result > 0, `a reply was expected, not ${result}`);
  const { len, error, unique } = abi.FuseOutHeader.decode(reply);
  assert.deepEqual([len, unique], [result, UNIQUE]);
  const bytes = reply.slice(0, result);
  return { error: 0 - error, body: bytes.subarray(abi.FuseOutHeader.size), bytes };
}

export function askRaw(
  session: FuseSession,
  opcode: number,
  body: Bytes = new Uint8Array(0),
  nodeid = 1n,
): number {
  const len = abi.FuseInHeader.size + body.length;
  request.set(abi.FuseInHeader.encode({ len, opcode, unique: UNIQUE, nodeid, uid: 5, gid: 6, pid: 7 }));
  request.set(body, abi.FuseInHeader.size);
  reply.fill(0xee, 0, 4096);
  return session.handle(request, len, reply);
}

export const sessionOf = (vfs: Partial<Vfs> = {}, options: object = {}) =>
  new FuseSession(emptyVfs(vfs), { validSeconds: VALID_SECONDS, ...options });

/** The reply that the tables make. */
export const tableReply = (...body: Bytes[]) => {
  const whole = concatBytes(body);
  return concatBytes([
    abi.FuseOutHeader.encode({ len: abi.FuseOutHeader.size + whole.length, unique: UNIQUE }),
    whole,
  ]);
};

export const cString = (name: string) => bytesOf(ascii(`${name}\0`));

export const u32 = fc.integer({ min: 0, max: 0xffffffff });
export const anyAttributes: fc.Arbitrary<Attributes> = fc.record({
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

export function attrFields(attributes: Attributes) {
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

export const entryOut = (attributes: Attributes) =>
  abi.FuseEntryOut.encode({
    nodeid: BigInt(attributes.node),
    entryValid: BigInt(VALID_SECONDS),
    attrValid: BigInt(VALID_SECONDS),
    ...attrFields(attributes),
  });

export const readBody = (offset: bigint, size: number) => abi.FuseReadIn.encode({ fh: 9n, offset, size });

export const sized = (size: number) => abi.FuseGetxattrIn.encode({ size });

/** A file without an end, of one byte again and again. */
export const filling =
  (byte: number): Vfs['read'] =>
  (_, __, length, into, at) => {
    into.fill(byte, at, at + length);
    return length;
  };

export interface Listed {
  readonly name: Bytes;
  readonly attributes: Attributes;
  readonly cookie: number;
}

/** A file system whose root has these entries; names are handed out from within a larger buffer, as records are. */
export const listing = (entries: readonly Listed[]): Partial<Vfs> => ({
  readdir: (_, after, visit) => {
    for (const { name, attributes, cookie } of entries) {
      const record = concatBytes([Uint8Array.of(1, 2, 3), name, Uint8Array.of(9)]);
      if (cookie > after && !visit(record, 3, name.length, attributes, cookie)) break;
    }
    return true;
  },
});
