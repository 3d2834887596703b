/** Attaches nested catalogs in a given order: node ids say which catalog came when. */

import type { ByteString } from '../core/bytes/byte-string.ts';
import { displayBytes } from '../core/bytes/utf8.ts';
import { ThimbleError } from '../core/errors.ts';
import type { MountedSnapshot } from './mounted-snapshot.ts';
import { lookupChild, rootOf } from './walk.ts';

/** What every directory with a catalog of its own has in it. */
const MARKER = '.cvmfscatalog' as ByteString;

/** Attaches the catalogs of these transition points. Throws FORMAT if there is none, and as `MountedSnapshot.fulfil` does. */
export async function attachCatalogs(mounted: MountedSnapshot, paths: readonly ByteString[]): Promise<void> {
  for (const path of paths) {
    let entry = rootOf(mounted);
    for (const name of path.split('/').slice(1)) {
      const child = await lookupChild(mounted, entry, name as ByteString);
      if (child === undefined) throw missing(path);
      entry = child;
    }
    // Any question about what is in a directory brings its catalog.
    await lookupChild(mounted, entry, MARKER);
    if (!mounted.vfs.isAttached(entry.node)) throw missing(path);
  }
}

function missing(path: ByteString): ThimbleError {
  return new ThimbleError(
    'FORMAT',
    `Cannot attach a catalog at ${displayBytes(path)}: the snapshot has none there`,
  );
}
