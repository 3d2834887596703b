/** What the doctor looks at on this machine: the device, the mount and its process, the cache, the log. */

import { dirname } from 'node:path';
import type { CacheState } from '../client/cache.ts';
import type { Check, Finding, Machine, Patient } from './doctor.ts';

const LOW_FREE_BYTES = 256 * 1024 ** 2;
const FEW_DESCRIPTORS = 1024;
const MANY_WAITING = 8;
const OLD_LOG_SECONDS = 24 * 3600;

export const LOCAL_CHECKS: readonly Check[] = [
  { name: 'device', subject: '/dev/fuse', look: checkDevice },
  { name: 'kernel', subject: 'kernel', look: checkKernel },
  { name: 'rights', subject: 'rights to mount', look: checkRights },
  { name: 'autofs', subject: 'automounters', look: checkAutofs },
  { name: 'configuration', subject: 'configuration', look: ({ configuration }) => configuration },
  { name: 'mount', subject: 'mount', look: checkMount },
  { name: 'readers', subject: 'readers that wait', look: checkReaders },
  { name: 'updates', subject: 'updates', look: checkUpdates },
  { name: 'descriptors', subject: 'descriptors', look: checkDescriptors },
  { name: 'cache', subject: 'cache folder', look: checkCacheFolder },
  { name: 'content', subject: 'cached content', look: checkCacheContent },
  { name: 'log', subject: 'recent errors', look: checkLog },
];

function checkDevice(_: Patient, { refusal }: Machine): Finding[] {
  const why = refusal('/dev/fuse', 'write');
  if (why === undefined) return [];
  if (why === 'ENOENT') {
    return [
      {
        severity: 'error',
        message: 'There is no /dev/fuse: nothing can be mounted',
        hint: 'load the kernel module with: modprobe fuse; in a container, start it with --device /dev/fuse',
      },
    ];
  }
  return [
    {
      severity: 'error',
      message: `/dev/fuse may not be opened (${why})`,
      hint: 'run this as root, or: chmod 666 /dev/fuse',
    },
  ];
}

/** Versions from which the kernel can do something that makes mounts better. */
const FEATURES: readonly (readonly [major: number, minor: number, feature: string])[] = [
  [5, 10, 'keeping listings and many requests at once'],
  [6, 9, 'asking again what a client that was killed has read and not answered'],
];

function checkKernel(_: Patient, { readText }: Machine): Finding[] {
  const [, major, minor] = /Linux version (\d+)\.(\d+)/.exec(readText('/proc/version') ?? '') ?? [];
  if (major === undefined || minor === undefined) return [];
  const version = 1000 * Number(major) + Number(minor);
  return FEATURES.filter(([needMajor, needMinor]) => version < 1000 * needMajor + needMinor).map(
    ([needMajor, needMinor, feature]): Finding => ({
      severity: needMajor < 6 ? 'warning' : 'note',
      message: `Linux ${major}.${minor} cannot do ${feature}: that came with ${needMajor}.${needMinor}`,
    }),
  );
}

function checkRights({ mount }: Patient, { isRoot, readText }: Machine): Finding[] {
  if (isRoot || mount !== undefined) return [];
  const allowed = /^\s*user_allow_other\s*$/m.test(readText('/etc/fuse.conf') ?? '');
  return [
    {
      severity: 'warning',
      message: `This user may not mount${allowed ? '' : ', and mounts of users could not be shown to others'}`,
      hint: 'run "thimble mount" as root, or as root of a user namespace: unshare -Urm',
    },
  ];
}

function checkAutofs({ mount, fqrn }: Patient, { readText }: Machine): Finding[] {
  const place = mount === undefined ? (fqrn === undefined ? undefined : `/cvmfs/${fqrn}`) : mount.mountpoint;
  const lines = (readText('/proc/self/mountinfo') ?? '').split('\n');
  const automounted = lines.flatMap((line) => {
    const [left = '', right = ''] = line.split(' - ');
    return right.startsWith('autofs ') ? [left.split(' ')[4] ?? ''] : [];
  });
  if (place === undefined || !automounted.includes(dirname(place))) return [];
  const map = readText('/etc/auto.master.d/thimble.autofs') ?? readText('/etc/auto.master') ?? '';
  if (/thimble/.test(map)) return [];
  return [
    {
      severity: 'note',
      message: `${dirname(place)} belongs to an automounter, and no map of it names thimble`,
      hint: 'mount elsewhere, or use the map in contrib/autofs',
    },
  ];
}

function checkMount({ mount }: Patient): Finding[] {
  if (mount === undefined || mount.state === 'alive') return [];
  const { state, problem = 'it does not answer', hint, kernelWaits = 0 } = mount;
  const waiting = kernelWaits > 0 ? `; ${kernelWaits} requests of the kernel wait for it` : '';
  return [
    {
      severity: state === 'hung' || state === 'dead' ? 'error' : 'warning',
      message: `${mount.mountpoint} is ${state}: ${problem}${waiting}`,
      ...(hint === undefined ? {} : { hint }),
    },
  ];
}

function checkReaders({ mount }: Patient): Finding[] {
  const status = mount?.status;
  if (status?.isOffline) {
    return [
      {
        severity: 'warning',
        message: `${status.mountpoint} was told to ask no servers: only cached content is readable`,
        hint: `let it ask again with: thimble network online ${status.mountpoint}`,
      },
    ];
  }
  const waiting = status?.kernel.waiting ?? 0;
  if (waiting < MANY_WAITING) return [];
  return [
    {
      severity: 'warning',
      message: `${waiting} requests wait for data`,
      hint: 'see below what is wrong with servers and proxies; whoever waits can be killed at any time',
    },
  ];
}

function checkUpdates({ mount }: Patient): Finding[] {
  const failure = mount?.status?.updates?.error;
  if (failure === undefined) return [];
  return [
    {
      severity: 'warning',
      message: `Looking for new revisions fails: ${failure}`,
      hint: 'what is mounted stays readable; try it with: thimble remount DIR',
    },
  ];
}

function checkDescriptors({ mount }: Patient, { readText }: Machine): Finding[] {
  const process = mount?.status?.process;
  const limit =
    process?.descriptorLimit ??
    Number(/^Max open files\s+(\d+)/m.exec(readText('/proc/self/limits') ?? '')?.[1] ?? FEW_DESCRIPTORS);
  const used = process?.descriptors ?? 0;
  if (limit < FEW_DESCRIPTORS || used > 0.8 * limit) {
    return [
      {
        severity: 'warning',
        message: `The process may have ${limit} open files, and has ${used}`,
        hint: 'raise the limit before mounting: ulimit -n 65536; in a unit: LimitNOFILE=65536',
      },
    ];
  }
  return [];
}

function checkCacheFolder({ cacheFolder, mount }: Patient, machine: Machine): Finding[] {
  if (cacheFolder === undefined) return [];
  const why = machine.refusal(cacheFolder, 'write');
  if (why === 'ENOENT' && mount === undefined) return [];
  if (why !== undefined) {
    const words: Readonly<Record<string, string>> = {
      EROFS: 'its file system is read-only',
      EACCES: 'this user may not write there',
      ENOENT: 'it is gone',
    };
    return [
      {
        severity: 'warning',
        message: `Cannot write to the cache ${cacheFolder}: ${words[why] ?? why}. Files are still read, from the servers each time`,
        hint: 'look at the disk: findmnt -T FOLDER, dmesg; or mount with another --cache',
      },
    ];
  }
  const free = machine.freeBytes(cacheFolder);
  if (free === undefined || free >= LOW_FREE_BYTES) return [];
  return [
    {
      severity: 'warning',
      message: `The disk of the cache ${cacheFolder} has ${Math.round(free / 1e6)} MB left: the cache stays smaller than it may be`,
      hint: 'make room on it, or mount with another --cache',
    },
  ];
}

const CACHE_STATES: Readonly<Record<CacheState, string>> = {
  good: '',
  full: 'its disk is full, or all of it is pinned',
  failing: 'its disk fails',
  'read-only': 'it cannot be written',
};

function checkCacheContent({ mount }: Patient): Finding[] {
  const cache = mount?.status?.cache;
  if (cache === undefined) return [];
  const findings: Finding[] = [];
  if (cache.readFailures > 0) {
    findings.push({
      severity: 'warning',
      message: `${cache.readFailures} cached objects were found damaged or unreadable, and have been fetched again`,
      hint: 'the disk of the cache may be failing: look at dmesg, and at smartctl -a',
    });
  }
  if (cache.state !== 'good') {
    findings.push({
      severity: 'warning',
      message: `The cache does not take new content: ${CACHE_STATES[cache.state]}. Files are still read, from the servers each time`,
      hint: cache.lastError ?? 'make room, or mount with another --cache',
    });
  }
  return findings;
}

/** Of a mount that answers, from its own memory; else from the end of its log file. */
function checkLog({ mount, logFile }: Patient, { readText, nowSeconds }: Machine): Finding[] {
  const status = mount?.status;
  if (status !== undefined) {
    const recent = status.log.last.filter(
      ({ level, seconds }) => level === 'error' && nowSeconds() - seconds < OLD_LOG_SECONDS,
    );
    const last = recent.at(-1);
    if (last === undefined) return [];
    const { what = '', path = '', error = '' } = last.fields;
    return [
      {
        severity: 'warning',
        message: `${recent.length} errors in the log since yesterday, the last: ${[last.message, what, path, error].filter((word) => word !== '').join(' ')}`,
        hint: 'see them with: thimble status DIR --log',
      },
    ];
  }
  const text = logFile === undefined || mount === undefined ? undefined : readText(logFile);
  const last = text
    ?.trimEnd()
    .split('\n')
    .findLast((line) => / error |"level":"error"/.test(line));
  return last === undefined
    ? []
    : [{ severity: 'note', message: `The last error in ${logFile}: ${last.trim()}` }];
}
