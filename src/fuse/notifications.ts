/**
 * What a server tells the kernel unasked, so that it forgets what is no longer so. Each is one message, written to the
 * FUSE device as a reply to nobody: `unique` is 0, and the code of the notification stands where a reply has its error.
 */

import { type Bytes, concatBytes } from '../core/bytes/byte-string.ts';
import type { NodeId } from '../core/vfs.ts';
import * as abi from './abi.ts';

const ZERO = new Uint8Array(1);

/** The kernel forgets a name, also the absence of one; with `expireOnly` it asks again when the name is next used. */
export function encodeInvalidateEntry(parent: NodeId, name: Bytes, expireOnly: boolean): Bytes {
  const body = abi.FuseNotifyInvalEntryOut.encode({
    parent: BigInt(parent),
    namelen: name.length,
    flags: expireOnly ? abi.EXPIRE_ONLY : 0,
  });
  return notification(abi.NOTIFY_INVAL_ENTRY, [body, name, ZERO]);
}

/** The kernel forgets attributes and cached pages: of a file its content, of a directory its listing. */
export function encodeInvalidateInode(node: NodeId): Bytes {
  return notification(abi.NOTIFY_INVAL_INODE, [
    abi.FuseNotifyInvalInodeOut.encode({ ino: BigInt(node), off: 0n, len: 0n }),
  ]);
}

/** The kernel asks again for every name that it knows, when it is next used. */
export function encodeIncrementEpoch(): Bytes {
  return notification(abi.NOTIFY_INC_EPOCH, []);
}

/** The kernel hands out once more what was read from the device and never answered. */
export function encodeResend(): Bytes {
  return notification(abi.NOTIFY_RESEND, []);
}

/** Bytes before the content in a message that `writeStoreHeader` begins. */
export const STORE_HEADER_BYTES = abi.FuseOutHeader.size + abi.FuseNotifyStoreOut.size;

/**
 * The kernel gets content from the start of a file, which stands in `message` behind `STORE_HEADER_BYTES`. It waits for readers of
 * that file who wait for content themselves.
 */
export function writeStoreHeader(message: Bytes, node: NodeId, sizeBytes: number): void {
  const len = STORE_HEADER_BYTES + sizeBytes;
  message.set(abi.FuseOutHeader.encode({ len, error: abi.NOTIFY_STORE }));
  message.set(
    abi.FuseNotifyStoreOut.encode({ nodeid: BigInt(node), size: sizeBytes }),
    abi.FuseOutHeader.size,
  );
}

function notification(code: number, body: readonly Bytes[]): Bytes {
  const rest = concatBytes(body);
  return concatBytes([
    abi.FuseOutHeader.encode({ len: abi.FuseOutHeader.size + rest.length, error: code }),
    rest,
  ]);
}
