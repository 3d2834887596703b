/** A mount that is well, as it tells about itself. */

import type { ContentHash } from '../../src/core/content-hash.ts';
import type { MountStatus } from '../../src/mount/status.ts';

export const SAMPLE_SECONDS = 1_800_000_000;

export function sampleStatus(): MountStatus {
  return {
    fqrn: 'os.example.org',
    mountpoint: '/mnt/os',
    version: '0.1.0',
    snapshot: {
      rootCatalog: '1135210303ecbd060be45abc5adb3639452617e1-shake128' as ContentHash,
      revision: 12,
      tag: 'v1',
      isPinned: false,
      publishedSeconds: SAMPLE_SECONDS - 7200,
    },
    whitelistExpiresSeconds: SAMPLE_SECONDS + 21 * 86_400,
    catalogs: 14,
    process: {
      pid: 4711,
      uptimeSeconds: 12_000,
      residentBytes: 95_000_000,
      heapBytes: 20_000_000,
      cpuSeconds: 12.5,
      descriptors: 34,
      descriptorLimit: 65_536,
    },
    log: { level: 'info', warnings: 0, errors: 0, last: [] },
    isOffline: false,
    network: {
      server: 'http://a/cvmfs/os.example.org',
      proxy: 'http://proxy:3128',
      servers: ['a', 'b'].map((host) => ({
        address: `http://${host}/cvmfs/os.example.org`,
        isCurrent: host === 'a',
        requests: 10,
        failures: 0,
        bytes: 1000,
        lastError: undefined,
      })),
      proxies: [{ group: 1, name: 'http://proxy:3128', isCurrent: true, isBurned: false }],
      counters: { requests: 1234, failures: 0, bytes: 56_000_000, roundTrips: 40 },
      lastError: undefined,
      slowest: { path: 'data/ab/cd', server: 'http://a/cvmfs/os.example.org', milliseconds: 812 },
    },
    cache: {
      kind: 'folder',
      folder: '/var/cache/thimble/objects',
      state: 'good',
      sinceSeconds: SAMPLE_SECONDS - 12_000,
      lastError: undefined,
      usedBytes: 1_200_000_000,
      objects: 20_000,
      limitBytes: 4_300_000_000,
      keepFreeBytes: 64_000_000,
      freeBytes: 50_000_000_000,
      pinnedBytes: 0,
      hits: 900,
      misses: 100,
      droppedObjects: 0,
      droppedBytes: 0,
      readFailures: 0,
      writeFailures: 0,
      lower: [],
    },
    kernel: {
      requests: 990,
      waits: 10,
      waitedMs: 1500,
      waiting: 0,
      operations: { LOOKUP: 900, READ: 90 },
      validSeconds: 60,
      negotiated: undefined,
    },
    updates: {
      checkedSeconds: SAMPLE_SECONDS - 12,
      nextCheckInSeconds: 228,
      ttlSeconds: 240,
      isPushed: true,
      moves: 1,
      lagging: [],
      error: undefined,
    },
    parts: {},
  };
}
