/**
 * The lower layer of an overlay, when it is a mounted snapshot: finds the files that the overlay remembers by their file
 * handles, which hold the node ids of `SnapshotVfs`.
 */

import { attachCatalogs } from '../client/attach-catalogs.ts';
import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import { listDirectory, lookupChild, rootOf } from '../client/walk.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { decodeHex } from '../core/bytes/hex.ts';
import { ByteReader } from '../core/bytes/reader.ts';
import { ThimbleError } from '../core/errors.ts';
import { parentPath } from '../core/path-key.ts';
import type { NodeId } from '../core/vfs.ts';

export class OverlayBase {
  readonly #mounted: MountedSnapshot;

  private constructor(mounted: MountedSnapshot) {
    this.#mounted = mounted;
  }

  /** `catalogs` are the transition points in the order in which the mount has attached them. Throws as `attachCatalogs` does. */
  static async open(mounted: MountedSnapshot, catalogs: readonly ByteString[]): Promise<OverlayBase> {
    await attachCatalogs(mounted, catalogs);
    return new OverlayBase(mounted);
  }

  /** All names of a file; `handle` is what the index of an overlay calls it. Throws FORMAT. */
  async namesOf(handle: ByteString): Promise<ByteString[]> {
    const node = nodeOfHandle(handle);
    const mounted = this.#mounted;
    if (mounted.vfs.getattr(node) === undefined) {
      throw new ThimbleError('FORMAT', `Cannot use index entry ${handle}: the snapshot has no such file`);
    }
    const folder = parentPath(mounted.vfs.pathOf(node));
    let directory = rootOf(mounted);
    for (const name of folder.split('/').slice(1)) {
      directory = (await lookupChild(mounted, directory, name as ByteString))!;
    }
    // The names of a hard-linked file are in one directory (docs/format.md#hard-links).
    const siblings = await listDirectory(mounted, directory);
    return siblings.filter((sibling) => sibling.node === node).map(({ path }) => path);
  }
}

const VERSION = 0;
const MAGIC = 0xfb;
const BIG_ENDIAN_OR_UPPER = 0b101;
/** A 64-bit node id and a generation, as FUSE encodes them. */
const TYPE_INO64_GEN = 0x81;
const UUID_BYTES = 16;
const GENERATION_BYTES = 4;

/** `struct ovl_fb` of Linux' fs/overlayfs/overlayfs.h around the handle of fs/fuse/inode.c. Throws FORMAT. */
function nodeOfHandle(handle: ByteString): NodeId {
  const reader = new ByteReader(decodeHex(handle), 'file handle of an overlay');
  const version = reader.u8();
  const magic = reader.u8();
  reader.u8(); // length
  const flags = reader.u8();
  const type = reader.u8();
  if (
    version !== VERSION ||
    magic !== MAGIC ||
    (flags & BIG_ENDIAN_OR_UPPER) !== 0 ||
    type !== TYPE_INO64_GEN
  ) {
    throw new ThimbleError('FORMAT', `Cannot use index entry ${handle}: it is not the handle of a FUSE file`);
  }
  reader.skip(UUID_BYTES);
  const high = reader.u32le();
  const low = reader.u32le();
  reader.skip(GENERATION_BYTES);
  reader.end();
  return (high * 0x1_0000_0000 + low) as NodeId;
}
