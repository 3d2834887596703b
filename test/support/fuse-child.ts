/** A process that serves a snapshot on the FUSE descriptor it has inherited, and does what its parent tells it. See `fuse-process.ts`. */

import { MountedSnapshot } from '../../src/client/mounted-snapshot.ts';
import { parseContentHash } from '../../src/core/content-hash.ts';
import { silentLog } from '../../src/core/ports.ts';
import { FuseServer } from '../../src/node/fuse-server.ts';
import { nodeHashing } from '../../src/node/hashing.ts';
import { openRepository } from '../../src/node/repository-access.ts';
import type { FuseCommand, FuseProcessOptions } from './fuse-process.ts';

const FUSE_FD = 3;

const {
  server: address,
  rootHash,
  cacheFolder,
  deadlineMs,
  fuse,
} = JSON.parse(process.argv[2]!) as FuseProcessOptions;
const access = openRepository(
  { fqrn: 'small.example.org', servers: [address], proxies: [], keyFiles: [] },
  {
    cacheFolder,
    cacheLimitBytes: 2e9,
    log: silentLog,
    retries: deadlineMs === undefined ? {} : { deadlineMs },
  },
);
const server = new FuseServer({
  workerFile: new URL('../../src/cli/mount-worker.ts', import.meta.url),
  cacheFolder,
  validSeconds: 3600,
  ...fuse,
});
const snapshot = await access.repository.resolve({ rootHash: parseContentHash(rootHash) });
const mounted = await MountedSnapshot.open(snapshot, access.objects, {
  hashing: nodeHashing,
  onCatalog: server.onCatalog,
});
server.start(FUSE_FD, mounted);
process.send!({ id: 0, result: 'serving' });

process.on('message', ({ id, method, args }: FuseCommand) => {
  void (async () => {
    try {
      const result: unknown = await (server[method] as (...args: unknown[]) => unknown)(
        ...args.map((arg) =>
          typeof arg === 'object' && arg !== null && 'latin1' in arg
            ? Buffer.from(String(arg.latin1), 'latin1')
            : arg,
        ),
      );
      process.send!({ id, result });
    } catch (error) {
      process.send!({ id, error: String(error) });
    }
  })();
});

await server.closed;
process.disconnect();
access.close();
