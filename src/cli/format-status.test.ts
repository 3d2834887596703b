import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SAMPLE_SECONDS, sampleStatus } from '../../test/support/sample-status.ts';
import type { MountReport } from '../mount/status-mounts.ts';
import { formatDuration, formatReports } from './format-status.ts';

const ALIVE: MountReport = {
  mountpoint: '/mnt/os',
  fqrn: 'os.example.org',
  state: 'alive',
  status: sampleStatus(),
};
const HUNG: MountReport = {
  mountpoint: '/mnt/second',
  fqrn: 'other.example.org',
  state: 'hung',
  processState: 'T',
  kernelWaits: 3,
  problem: 'its process 1 is stopped',
  hint: 'let it go on with: kill -CONT 1',
};

test('one mount is shown with everything about it', () => {
  assert.equal(
    formatReports([ALIVE], SAMPLE_SECONDS),
    `/mnt/os  os.example.org  ok
  revision    12, tag v1, published 2 h ago
  root hash   1135210303ecbd060be45abc5adb3639452617e1-shake128
  updates     looked 12 s ago, told by the server, next in 3 min
  whitelist   expires in 21 days
  server      http://a/cvmfs/os.example.org, one of 2
  proxy       http://proxy:3128
  fetched     1,234 requests, 56 MB, none failed
  slowest     0.81 s for data/ab/cd from http://a/cvmfs/os.example.org
  cache       1.2 GB of 4.3 GB, in /var/cache/thimble/objects, 50 GB free on disk
  hit rate    99.0 % of requests answered without waiting
  kernel      1,000 requests, 10 waited, 0 wait now
  catalogs    14 attached
  process     pid 4711, up 3 h, 95 MB memory, 34 of 65,536 descriptors, version 0.1.0`,
  );
});

test('a mount in trouble says so', () => {
  const status = sampleStatus();
  const troubled: MountReport = {
    ...ALIVE,
    status: {
      ...status,
      isOffline: true,
      whitelistExpiresSeconds: SAMPLE_SECONDS - 3 * 86_400,
      cache: { ...status.cache!, state: 'full', lastError: 'ENOSPC', pinnedBytes: 5_000_000 },
      updates: { ...status.updates!, isPushed: false, error: 'no way' },
      network: {
        ...status.network,
        counters: { ...status.network.counters, failures: 7 },
        lastError: { message: 'refused', path: 'x', server: 'a', unixSeconds: SAMPLE_SECONDS },
      },
      log: {
        ...status.log,
        last: [
          { seconds: SAMPLE_SECONDS - 5, level: 'error', message: 'cannot fetch', fields: { what: '/x' } },
        ],
      },
      parts: {
        complete: { state: 'running', doneBytes: 5_000_000, detail: { hidden: true } },
        recorder: { recording: false, objects: 0 },
      },
    },
  };
  const text = formatReports([troubled], SAMPLE_SECONDS);
  for (const line of [
    '  updates     looked 12 s ago, next in 3 min, failed: no way',
    '  whitelist   expired 3 days ago',
    '  server      none: it was told to ask no servers',
    '  fetched     1,234 requests, 56 MB, 7 failed, the last: refused',
    '  cache       1.2 GB of 4.3 GB, 5.0 MB pinned, in /var/cache/thimble/objects, 50 GB free on disk, full: ENOSPC',
    '  complete    state running, done 5.0 MB',
    '  error       5 s ago: cannot fetch what=/x',
  ]) {
    assert.ok(text.split('\n').includes(line), `${line}\nnot in\n${text}`);
  }
  assert.doesNotMatch(text, /recorder/);
});

test('a mount that gives no answer shows what is known of it', () => {
  assert.equal(
    formatReports([HUNG], SAMPLE_SECONDS),
    `/mnt/second  other.example.org  HUNG
  its process 1 is stopped
  hint: let it go on with: kill -CONT 1
  waiting     3 requests of the kernel`,
  );
});

test('several mounts are a table', () => {
  assert.equal(
    formatReports([ALIVE, HUNG], SAMPLE_SECONDS),
    `MOUNT POINT  REPOSITORY         STATE  REVISION  AGE  CACHE   WAITING  ERRORS
/mnt/os      os.example.org     ok     12        2 h  1.2 GB  0        0
/mnt/second  other.example.org  HUNG   its process 1 is stopped`,
  );
});

test('no mounts are told as such', () => {
  assert.equal(formatReports([], SAMPLE_SECONDS), 'Nothing is mounted.');
});

for (const [seconds, text] of [
  [-5, '0 s'],
  [119, '119 s'],
  [120, '2 min'],
  [7199, '119 min'],
  [7200, '2 h'],
  [172_800, '2 days'],
  [1e9, '11,574 days'],
] as const) {
  test(`formatDuration() of ${seconds} s is ${text}`, () => assert.equal(formatDuration(seconds), text));
}
