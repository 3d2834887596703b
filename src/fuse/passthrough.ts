/** Passthrough: the kernel reads a file by itself, from another one that it was shown (docs/adr/0016-passthrough.md). */

import type { NodeId } from '../core/vfs.ts';
import { INIT2_PASSTHROUGH } from './abi.ts';
import type { Negotiated } from './negotiation.ts';

/** Which files the kernel reads by itself, from a file that is behind. All opens of one at a time are of the same kind. */
export interface Passthrough {
  /** How to open a file; `undefined` if there never will be a file behind any. */
  open(node: NodeId, request: RequestId): OpenedFile | undefined;
  close(handle: number, request: RequestId): void;
}

/** A request that is to count once, whatever happens to the process that handles it. */
export interface RequestId {
  /** Below 2^53, and of this request alone. */
  readonly unique: number;
  /** It has come before: an earlier process may have handled it without answering. */
  readonly isRepeated: boolean;
}

export interface OpenedFile {
  /** Not 0, below 2^32. */
  readonly handle: number;
  /** As the kernel numbers files that are behind; 0 for pages as usual. */
  readonly backingId: number;
}

/** Whether the kernel was told that it may read files by itself. */
export function hasPassthrough(negotiated: Negotiated | undefined): boolean {
  return ((negotiated?.granted2 ?? 0) & INIT2_PASSTHROUGH) !== 0;
}
