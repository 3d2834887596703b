/**
 * INIT: what both sides speak and do. It happens once in the life of a mount; a process that takes a mounted file system
 * over is not asked again and has to know the outcome.
 */

import type { Bytes } from '../core/bytes/byte-string.ts';
import * as abi from './abi.ts';

export const MAX_READ_BYTES = 1024 * 1024;
export const PAGE_BYTES = 4096;

/** The outcome of INIT. Plain numbers, so that it can be handed from process to process. */
export interface Negotiated {
  readonly minor: number;
  /** Granted flags, `INIT_*`. */
  readonly flags: number;
  /** What the kernel has offered in its second word, `INIT2_*`; nothing of it has to be granted. */
  readonly offered2: number;
  /** Granted flags of the second word. Missing in the journal of a mount that an older version began. */
  readonly granted2?: number;
}

const WANTED =
  abi.INIT_ASYNC_READ |
  abi.INIT_EXPORT_SUPPORT |
  abi.INIT_DO_READDIRPLUS |
  abi.INIT_NO_OPEN_SUPPORT |
  abi.INIT_PARALLEL_DIROPS |
  abi.INIT_MAX_PAGES |
  abi.INIT_CACHE_SYMLINKS |
  abi.INIT_NO_OPENDIR_SUPPORT |
  abi.INIT_EXT;

/** Files behind passthrough may not be on a stacked file system; then an overlay fits on top of this one. */
const MAX_STACK_DEPTH = 1;

const MAX_BACKGROUND = 128;
const CONGESTION_THRESHOLD = 96;

/**
 * What can be agreed on with a kernel that sent this INIT, with these flags of the second word; `undefined` with one that is too
 * old or of another world.
 */
export function negotiate(request: Bytes, body: number, end: number, wanted2 = 0): Negotiated | undefined {
  const asked = abi.FuseInitIn.decode(request, body);
  if (asked.major !== abi.FUSE_MAJOR || asked.minor < abi.FUSE_MINOR_MINIMUM) return undefined;
  const isExtended = (asked.flags & abi.INIT_EXT) !== 0 && end - body >= abi.FuseInitInExt.size;
  const offered2 = isExtended ? abi.FuseInitInExt.decode(request, body).flags2 : 0;
  return {
    minor: Math.min(asked.minor, abi.FUSE_MINOR),
    flags: (asked.flags & WANTED) >>> 0,
    offered2,
    granted2: (offered2 & wanted2) >>> 0,
  };
}

/** The reply to INIT. `maxReadahead` is the kernel's own, in bytes. */
export function writeInitReply({ minor, flags, granted2 = 0 }: Negotiated, maxReadahead: number): Bytes {
  return abi.FuseInitOut.encode({
    major: abi.FUSE_MAJOR,
    minor,
    maxReadahead: Math.max(maxReadahead, MAX_READ_BYTES),
    flags,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    maxWrite: PAGE_BYTES,
    timeGran: 1,
    maxPages: MAX_READ_BYTES / PAGE_BYTES,
    flags2: granted2,
    maxStackDepth: (granted2 & abi.INIT2_PASSTHROUGH) === 0 ? 0 : MAX_STACK_DEPTH,
  });
}
