/** Makes the kernel forget what another revision has changed, and nothing else: all the rest stays cached for ever. */

import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { RevisionChanges } from '../client/revision-changes.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { byteStringOf, bytesOf } from '../core/bytes/byte-string.ts';
import { NotYet, ROOT_NODE } from '../core/vfs.ts';
import type { FuseServer } from '../node/fuse-server.ts';

/** A notification takes some 9 microseconds. Beyond this, what is below the root is forgotten as a whole. */
const MAX_NOTIFICATIONS = 50_000;

/** Resolves when nobody can see anything of the old revision any more, but who has it open. Throws STORAGE. */
export async function tellKernel(
  server: FuseServer,
  { vfs }: MountedSnapshot,
  changes: RevisionChanges,
): Promise<void> {
  // An answer from the old revision would come behind the news.
  await server.settled();
  let count = 0;
  for (const names of changes.values()) count += 1 + names.size;
  const told = count > MAX_NOTIFICATIONS ? withAllOfRoot(vfs, changes) : changes;
  const sent: Promise<boolean>[] = [];
  for (const [node, names] of told) {
    for (const name of names) sent.push(server.invalidateEntry(node, bytesOf(name)));
    sent.push(server.invalidateInode(node));
  }
  await Promise.all(sent);
}

/** With a name, the kernel forgets all that is below it. */
function withAllOfRoot(vfs: MountedSnapshot['vfs'], changes: RevisionChanges): RevisionChanges {
  const names = new Set<ByteString>(changes.get(ROOT_NODE));
  const listed = vfs.readdir(ROOT_NODE, 0, (bytes, start, length) => {
    names.add(byteStringOf(bytes, start, start + length));
    return true;
  });
  return listed instanceof NotYet ? changes : new Map([[ROOT_NODE, names]]);
}
