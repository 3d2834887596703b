import assert from 'node:assert/strict';
import test from 'node:test';
import { concatBytes } from '../core/bytes/byte-string.ts';
import * as abi from './abi.ts';
import { negotiate, writeInitReply } from './negotiation.ts';
import { hasPassthrough } from './passthrough.ts';

const ALL = 0xffffffff;

/** INIT as kernels since 7.36 send it, 64 bytes; or only so many of them. */
function negotiated(fields: Parameters<typeof abi.FuseInitInExt.encode>[0], bytes = 64, wanted2 = 0) {
  const body = concatBytes([
    abi.FuseInitInExt.encode({ major: 7, minor: 45, ...fields }),
    new Uint8Array(44),
  ]);
  return negotiate(body, 0, bytes, wanted2)!;
}

test('nothing of the second word is granted unasked, and no file system of the kernel is stacked on', () => {
  const reply = abi.FuseInitOut.decode(writeInitReply(negotiated({ flags: ALL, flags2: ALL }), 0));
  assert.deepEqual([reply.flags2, reply.maxStackDepth], [0, 0]);
});

test('passthrough is granted to whoever wants it and is offered it, with files that are not on a stacked file system', () => {
  const granted = (flags2: number) => {
    const outcome = negotiated({ flags: ALL, flags2 }, 64, abi.INIT2_PASSTHROUGH);
    const reply = abi.FuseInitOut.decode(writeInitReply(outcome, 0));
    return [hasPassthrough(outcome), reply.flags2, reply.maxStackDepth];
  };
  assert.deepEqual(granted(ALL), [true, abi.INIT2_PASSTHROUGH, 1]);
  assert.deepEqual(granted((ALL & ~abi.INIT2_PASSTHROUGH) >>> 0), [false, 0, 0]);
  assert.equal(hasPassthrough(negotiated({ flags: ALL, flags2: ALL })), false);
});

test('the second word of flags counts only from kernels that say that it is there', () => {
  assert.equal(negotiated({ flags: ALL, flags2: ALL }).offered2, ALL);
  assert.equal(negotiated({ flags: (ALL & ~abi.INIT_EXT) >>> 0, flags2: ALL }).offered2, 0);
  assert.equal(negotiated({ flags: ALL, flags2: ALL }, abi.FuseInitIn.size).offered2, 0);
});

test('nothing can be agreed on with kernels before 7.31, or of another major version', () => {
  for (const version of [{ minor: 30 }, { major: 6 }, { major: 8 }])
    assert.equal(negotiated(version), undefined);
  assert.equal(negotiated({ minor: 31 }).minor, 31);
});
