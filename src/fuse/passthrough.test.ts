import assert from 'node:assert/strict';
import test from 'node:test';
import { ask, reply, request, sessionOf, UNIQUE } from '../../test/support/fuse-session.ts';
import { concatBytes } from '../core/bytes/byte-string.ts';
import { ENOSYS } from '../core/errno.ts';
import type { Attributes, NodeId } from '../core/vfs.ts';
import * as abi from './abi.ts';
import type { OpenedFile, Passthrough } from './passthrough.ts';
import { ELSEWHERE, LATER } from './session.ts';

const AGREED = { minor: 45, flags: 0, offered2: 0, granted2: abi.INIT2_PASSTHROUGH };
const NODE = 4711n;
const vfs = { getattr: () => ({ sizeBytes: 1000 }) as Attributes };

const sessionWith = (passthrough: Passthrough | { elsewhere: number }, options: object = {}) =>
  sessionOf(vfs, { negotiated: AGREED, passthrough, ...options });

/** A mount that opens every file in this way, and what it was asked. */
function passthroughOf(file: OpenedFile | undefined) {
  const asked: (NodeId | string)[] = [];
  const passthrough: Passthrough = {
    open: (node) => {
      asked.push(node);
      return file;
    },
    close: (handle, { unique, isRepeated }) =>
      void asked.push(`close ${handle} by ${unique}${isRepeated ? ' again' : ''}`),
  };
  return { passthrough, asked };
}

const opened = (session: ReturnType<typeof sessionOf>) =>
  abi.FuseOpenOut.decode(ask(session, abi.FUSE_OPEN, new Uint8Array(8), NODE).body);

test('OPEN tells the kernel which file is behind, or to read pages as usual', () => {
  for (const [file, flags] of [
    [{ handle: 3, backingId: 7 }, abi.FOPEN_PASSTHROUGH],
    [{ handle: 3, backingId: 0 }, abi.FOPEN_KEEP_CACHE],
  ] as const) {
    const { passthrough, asked } = passthroughOf(file);
    assert.deepEqual(opened(sessionWith(passthrough)), {
      fh: 3n,
      openFlags: flags | abi.FOPEN_NOFLUSH,
      backingId: file.backingId,
    });
    assert.deepEqual(asked, [4711]);
  }
});

test('OPEN is ENOSYS, and so the last one, where nothing can be behind, or the kernel has not agreed', () => {
  const { passthrough, asked } = passthroughOf(undefined);
  assert.equal(ask(sessionWith(passthrough), abi.FUSE_OPEN, new Uint8Array(8), NODE).error, ENOSYS);
  assert.deepEqual(asked, [4711]);
  const session = sessionWith({ elsewhere: 0 }, { negotiated: { ...AGREED, granted2: 0 } });
  assert.equal(ask(session, abi.FUSE_OPEN, new Uint8Array(8), NODE).error, ENOSYS);
  // With direct I/O, opens go on to be requests.
  const direct = sessionWith(passthrough, { directIo: true });
  assert.equal(opened(direct).openFlags, abi.FOPEN_KEEP_CACHE | abi.FOPEN_NOFLUSH);
});

test('a thread that does not know what is open leaves large files to the one that does', () => {
  const handle = (session: ReturnType<typeof sessionOf>, opcode: number, body: Uint8Array) => {
    const header = { len: abi.FuseInHeader.size + body.length, opcode, unique: UNIQUE, nodeid: NODE };
    request.set(concatBytes([abi.FuseInHeader.encode(header), body]));
    return session.handle(request, header.len, reply);
  };
  for (const [elsewhere, isLater] of [
    [1000, true],
    [1001, false],
  ] as const) {
    const session = sessionWith({ elsewhere });
    assert.equal(handle(session, abi.FUSE_OPEN, new Uint8Array(8)) === LATER, isLater);
    if (isLater) assert.equal(session.need, ELSEWHERE);
  }
  const session = sessionWith({ elsewhere: 0 });
  assert.equal(handle(session, abi.FUSE_RELEASE, abi.FuseReleaseIn.encode({ fh: 3n })), LATER);
  assert.notEqual(handle(session, abi.FUSE_RELEASE, abi.FuseReleaseIn.encode({ fh: 0n })), LATER);
});

test('RELEASE closes what OPEN has opened, and tells whether it comes again', () => {
  const { passthrough, asked } = passthroughOf(undefined);
  const session = sessionWith(passthrough);
  const release = (fh: bigint, unique: bigint) => {
    const body = abi.FuseReleaseIn.encode({ fh });
    const header = { len: abi.FuseInHeader.size + body.length, opcode: abi.FUSE_RELEASE, unique };
    request.set(concatBytes([abi.FuseInHeader.encode({ ...header, nodeid: NODE }), body]));
    assert.equal(session.handle(request, header.len, reply), abi.FuseOutHeader.size);
  };
  release(0n, 10n);
  release(3n, 12n);
  release(4n, 14n | (1n << 63n));
  assert.deepEqual(asked, ['close 3 by 12', 'close 4 by 14 again']);
});
