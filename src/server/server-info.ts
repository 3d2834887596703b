/** What a server tells monitors about itself: `/cvmfs/info/v1/` (docs/manual/replicate.md#what-a-server-tells). */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ServedRepository } from './repository-server.ts';

/** Who runs the server; served as it is. */
export type ServerMetadata = Readonly<Record<string, unknown>>;

export const NO_METADATA: ServerMetadata = { administrator: '', email: '', organisation: '', custom: {} };

/** A repository that is replicated here has told when. */
const REPLICA_MARKS = ['.cvmfs_last_snapshot', '.cvmfs_is_snapshotting'];

/** `repositories.json`: those published here, and those that are copies. */
export function listRepositories(served: readonly ServedRepository[]): object {
  const rows = served.map(({ fqrn, folder }) => ({
    row: { name: fqrn, url: `/cvmfs/${fqrn}` },
    isReplica: REPLICA_MARKS.some((mark) => existsSync(join(folder, mark))),
  }));
  const those = (isReplica: boolean) =>
    rows.filter((one) => one.isReplica === isReplica).map(({ row }) => row);
  return { schema: 1, repositories: those(false), replicas: those(true) };
}
