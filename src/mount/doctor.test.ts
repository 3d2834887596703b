import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseFqrn } from '../core/fqrn.ts';
import {
  type Check,
  type CheckResult,
  examine,
  type Finding,
  type Machine,
  type Patient,
  worstOf,
} from './doctor.ts';
import { LOCAL_CHECKS } from './doctor-local.ts';
import type { MountStatus } from './status.ts';
import type { MountReport, MountState } from './status-mounts.ts';

const FQRN = parseFqrn('os.example.org');
const NOW = 1_800_000_000;

const HEALTHY: Patient = {
  fqrn: FQRN,
  mount: undefined,
  servers: [],
  proxies: [],
  keyFiles: [],
  cacheFolder: undefined,
  logFile: undefined,
  configuration: [],
};

interface Deviation {
  readonly files?: Readonly<Record<string, string>>;
  readonly refusals?: Readonly<Record<string, string>>;
  readonly isRoot?: boolean;
  readonly freeBytes?: number;
}

/** A machine on which all is well, but for what is named. */
function machine({ files = {}, refusals = {}, isRoot = true, freeBytes = 1e12 }: Deviation = {}): Machine {
  const texts: Readonly<Record<string, string>> = {
    '/proc/version': 'Linux version 6.12.1 (x)',
    '/proc/self/limits': 'Max open files            65536                65536                files\n',
    ...files,
  };
  return {
    readText: (path) => texts[path],
    refusal: (path) => refusals[path],
    freeBytes: () => freeBytes,
    nowSeconds: () => NOW,
    isRoot,
    resolve: async () => [],
    probe: () => Promise.reject(new Error('nobody is asked')),
  };
}

/** A mount that answers, as far as local checks look at it. */
function alive(change: object): MountReport {
  const status = {
    mountpoint: '/mnt/os',
    isOffline: false,
    kernel: { waiting: 0 },
    process: { descriptors: 40, descriptorLimit: 65536 },
    log: { last: [] },
    cache: { state: 'good', readFailures: 0 },
    ...change,
  } as unknown as MountStatus;
  return { mountpoint: '/mnt/os', fqrn: FQRN, state: 'alive', status };
}

const silent = (state: MountState, more: Partial<MountReport> = {}): MountReport => ({
  mountpoint: '/mnt/os',
  fqrn: FQRN,
  state,
  problem: 'its process 1 is stopped',
  hint: 'let it go on with: kill -CONT 1',
  ...more,
});

interface Case {
  readonly check: string;
  readonly what: string;
  readonly patient?: Partial<Patient>;
  readonly machine?: Deviation;
  readonly severity: Finding['severity'];
  readonly message: RegExp;
}

const AUTOFS = '30 1 0:40 / /cvmfs rw - autofs /etc/auto.cvmfs rw\n';

const CASES: readonly Case[] = [
  {
    check: 'device',
    what: 'no /dev/fuse',
    machine: { refusals: { '/dev/fuse': 'ENOENT' } },
    severity: 'error',
    message: /There is no \/dev\/fuse/,
  },
  {
    check: 'device',
    what: 'a forbidden /dev/fuse',
    machine: { refusals: { '/dev/fuse': 'EACCES' } },
    severity: 'error',
    message: /may not be opened \(EACCES\)/,
  },
  {
    check: 'kernel',
    what: 'an old kernel',
    machine: { files: { '/proc/version': 'Linux version 4.19.0' } },
    severity: 'warning',
    message: /Linux 4\.19 cannot do/,
  },
  {
    check: 'kernel',
    what: 'a kernel that cannot ask again',
    machine: { files: { '/proc/version': 'Linux version 6.1.0' } },
    severity: 'note',
    message: /killed.*6\.9/,
  },
  {
    check: 'rights',
    what: 'a user who is not root',
    machine: { isRoot: false },
    severity: 'warning',
    message: /may not mount, and mounts of users/,
  },
  {
    check: 'rights',
    what: 'a user where fuse.conf allows others',
    machine: { isRoot: false, files: { '/etc/fuse.conf': 'user_allow_other\n' } },
    severity: 'warning',
    message: /may not mount$/,
  },
  {
    check: 'autofs',
    what: 'a place that an automounter has',
    machine: { files: { '/proc/self/mountinfo': AUTOFS } },
    severity: 'note',
    message: /\/cvmfs belongs to an automounter/,
  },
  {
    check: 'configuration',
    what: 'a wrong setting',
    patient: { configuration: [{ severity: 'error', message: 'x:3: no' }] },
    severity: 'error',
    message: /x:3: no/,
  },
  {
    check: 'mount',
    what: 'a mount that hangs',
    patient: { mount: silent('hung', { kernelWaits: 4 }) },
    severity: 'error',
    message: /\/mnt\/os is hung: its process 1 is stopped; 4 requests/,
  },
  {
    check: 'mount',
    what: 'a dead mount',
    patient: { mount: silent('dead') },
    severity: 'error',
    message: /\/mnt\/os is dead/,
  },
  {
    check: 'mount',
    what: 'a mount that may not be asked',
    patient: { mount: silent('closed') },
    severity: 'warning',
    message: /is closed/,
  },
  {
    check: 'readers',
    what: 'readers that wait',
    patient: { mount: alive({ kernel: { waiting: 12 } }) },
    severity: 'warning',
    message: /12 requests wait for data/,
  },
  {
    check: 'readers',
    what: 'a mount that asks nobody',
    patient: { mount: alive({ isOffline: true }) },
    severity: 'warning',
    message: /told to ask no servers/,
  },
  {
    check: 'updates',
    what: 'updates that fail',
    patient: { mount: alive({ updates: { error: 'no way' } }) },
    severity: 'warning',
    message: /new revisions fails: no way/,
  },
  {
    check: 'descriptors',
    what: 'few descriptors',
    machine: { files: { '/proc/self/limits': 'Max open files  256  256  files\n' } },
    severity: 'warning',
    message: /256 open files/,
  },
  {
    check: 'descriptors',
    what: 'descriptors that run out',
    patient: { mount: alive({ process: { descriptors: 1900, descriptorLimit: 2000 } }) },
    severity: 'warning',
    message: /2000 open files, and has 1900/,
  },
  {
    check: 'cache',
    what: 'a read-only cache',
    patient: { cacheFolder: '/c' },
    machine: { refusals: { '/c': 'EROFS' } },
    severity: 'warning',
    message: /its file system is read-only/,
  },
  {
    check: 'cache',
    what: 'a cache that is gone while mounted',
    patient: { cacheFolder: '/c', mount: alive({}) },
    machine: { refusals: { '/c': 'ENOENT' } },
    severity: 'warning',
    message: /it is gone/,
  },
  {
    check: 'cache',
    what: 'a full disk',
    patient: { cacheFolder: '/c' },
    machine: { freeBytes: 5e6 },
    severity: 'warning',
    message: /has 5 MB left/,
  },
  {
    check: 'content',
    what: 'damaged content',
    patient: { mount: alive({ cache: { state: 'good', readFailures: 3 } }) },
    severity: 'warning',
    message: /3 cached objects were found damaged/,
  },
  {
    check: 'content',
    what: 'a cache that fails',
    patient: { mount: alive({ cache: { state: 'failing', readFailures: 0, lastError: 'EIO' } }) },
    severity: 'warning',
    message: /does not take new content: its disk fails/,
  },
  {
    check: 'log',
    what: 'recent errors',
    patient: {
      mount: alive({
        log: {
          last: [{ seconds: NOW - 60, level: 'error', message: 'cannot fetch', fields: { what: '/bin/x' } }],
        },
      }),
    },
    severity: 'warning',
    message: /1 errors.*cannot fetch \/bin\/x/,
  },
  {
    check: 'log',
    what: 'the last words of a dead mount',
    patient: { mount: silent('dead'), logFile: '/l' },
    machine: { files: { '/l': 'T info a\nT error the end\n' } },
    severity: 'note',
    message: /\/l: T error the end/,
  },
];

for (const { check, what, patient, machine: deviation, severity, message } of CASES) {
  test(`the check "${check}" finds ${what}`, async () => {
    const [result] = await examine({ ...HEALTHY, ...patient }, machine(deviation), [checkOf(check)]);
    assert.equal(result!.findings[0]?.severity, severity);
    assert.match(result!.findings[0]!.message, message);
  });
}

function checkOf(name: string): Check {
  const found = LOCAL_CHECKS.find((check) => check.name === name);
  assert.ok(found, name);
  return found;
}

test('each local check has a test in which it finds something', () => {
  const tested = new Set(CASES.map(({ check }) => check));
  assert.deepEqual(
    LOCAL_CHECKS.map(({ name }) => name).filter((name) => !tested.has(name)),
    [],
  );
});

for (const [what, patient] of [
  ['a healthy mount', { mount: alive({ updates: { error: undefined } }), cacheFolder: '/c', logFile: '/l' }],
  ['a repository that is not mounted', {}],
  ['a machine with nothing mounted', { fqrn: undefined }],
] as const) {
  test(`nothing is found wrong with ${what}`, async () => {
    const results = await examine({ ...HEALTHY, ...patient }, machine(), LOCAL_CHECKS);
    assert.deepEqual(
      results.flatMap(({ findings }) => findings),
      [],
    );
    assert.equal(worstOf(results), undefined);
  });
}

test('an old error is none of today', async () => {
  const last = [{ seconds: NOW - 2 * 86_400, level: 'error', message: 'cannot fetch', fields: {} }];
  const [result] = await examine({ ...HEALTHY, mount: alive({ log: { last } }) }, machine(), [
    checkOf('log'),
  ]);
  assert.deepEqual(result!.findings, []);
});

test('an automounter with a map for thimble is as it should be', async () => {
  const files = {
    '/proc/self/mountinfo': AUTOFS,
    '/etc/auto.master.d/thimble.autofs': '/cvmfs /etc/auto.thimble',
  };
  const [result] = await examine(HEALTHY, machine({ files }), [checkOf('autofs')]);
  assert.deepEqual(result!.findings, []);
});

test('a check that hangs or breaks is a finding, and the others are made', async (t: TestContext) => {
  const checks: Check[] = [
    { name: 'a', subject: 'servers', look: () => new Promise((resolve) => t.after(() => resolve([]))) },
    { name: 'b', subject: 'keys', look: () => Promise.reject(new Error('oops')) },
    { name: 'c', subject: 'cache', look: () => [{ severity: 'error', message: 'found' }] },
  ];
  const results = await examine(HEALTHY, machine(), checks, 20);
  assert.deepEqual(
    results.map(({ findings }) => findings[0]!.message),
    ['Cannot check servers: no answer within 0.02 s', 'Cannot check keys: oops', 'found'],
  );
});

test('worstOf() tells errors from warnings, and passes over notes', () => {
  const result = (...severities: Finding['severity'][]): CheckResult => ({
    name: 'x',
    subject: 'x',
    seconds: 0,
    findings: severities.map((severity) => ({ severity, message: 'x' })),
  });
  assert.equal(worstOf([result('note'), result()]), undefined);
  assert.equal(worstOf([result('note'), result('warning')]), 'warning');
  assert.equal(worstOf([result('warning', 'error'), result('note')]), 'error');
});
