/** How mounts are, in words and columns. */

import type { CacheStatus } from '../client/cache.ts';
import type { ServersStatus } from '../client/network/servers-status.ts';
import type { MountStatus, PartStatus } from '../mount/status.ts';
import type { MountReport, MountState } from '../mount/status-mounts.ts';
import { formatBytes, formatCount, styled } from './terminal.ts';

const STATE_STYLE: Readonly<Record<MountState, Parameters<typeof styled>[0]>> = {
  alive: 'green',
  hung: 'red',
  dead: 'red',
  closed: 'yellow',
  gone: 'yellow',
};

/** All mounts: a line each, and everything about it where there is only one. */
export function formatReports(reports: readonly MountReport[], nowSeconds: number): string {
  if (reports.length === 0) return 'Nothing is mounted.';
  if (reports.length === 1) return formatReport(reports[0]!, nowSeconds);
  return formatOverview(reports, nowSeconds);
}

/** `90 s`, `3 min`, `5 h`, `21 days`: at least two of a unit. */
export function formatDuration(seconds: number): string {
  const units: readonly (readonly [number, string])[] = [
    [86_400, 'days'],
    [3600, 'h'],
    [60, 'min'],
  ];
  for (const [length, unit] of units) {
    if (seconds >= 2 * length) return `${formatCount(Math.floor(seconds / length))} ${unit}`;
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

// ---- one mount ----

type Row = readonly [name: string, text: string | undefined];

/** Everything about one mount. */
export function formatReport(report: MountReport, nowSeconds: number): string {
  const { mountpoint, fqrn, state, problem, hint, status } = report;
  const head = `${styled('bold', mountpoint, process.stdout)}  ${fqrn}  ${stateWord(state)}`;
  const rows: readonly Row[] = status === undefined ? silentRows(report) : statusRows(status, nowSeconds);
  const lines = rows
    .filter((row): row is [string, string] => row[1] !== undefined)
    .map(([name, text]) => `  ${name.padEnd(10)}  ${text}`);
  if (problem !== undefined) lines.unshift(`  ${styled('yellow', problem, process.stdout)}`);
  if (hint !== undefined) lines.splice(1, 0, `  hint: ${hint}`);
  return [head, ...lines, ...(status === undefined ? [] : troubleLines(status, nowSeconds))].join('\n');
}

function stateWord(state: MountState): string {
  return styled(STATE_STYLE[state], state === 'alive' ? 'ok' : state.toUpperCase(), process.stdout);
}

/** What is known of a mount that gives no answer. */
function silentRows({ server, processState, kernelWaits }: MountReport): Row[] {
  return [
    [
      'process',
      server && `pid ${server.pid}${processState === undefined ? ', ended' : `, state ${processState}`}`,
    ],
    ['waiting', kernelWaits === undefined ? undefined : `${kernelWaits} requests of the kernel`],
    ['log', server?.logFile],
  ];
}

function statusRows(status: MountStatus, nowSeconds: number): Row[] {
  const { snapshot, network, cache, kernel, catalogs, parts } = status;
  return [
    ['revision', revisionText(status, nowSeconds)],
    ['root hash', snapshot.rootCatalog],
    ['updates', updatesText(status, nowSeconds)],
    ['whitelist', expiryText(status.whitelistExpiresSeconds, nowSeconds)],
    [
      'server',
      status.isOffline
        ? alarm('none: it was told to ask no servers')
        : placeText(network.servers.length, network.server),
    ],
    ['proxy', network.proxy === 'DIRECT' ? undefined : placeText(network.proxies.length, network.proxy)],
    ['fetched', fetchedText(network)],
    ['slowest', slowestText(network)],
    ['cache', cache && cacheText(cache)],
    ['hit rate', hitText(status)],
    [
      'kernel',
      `${formatCount(kernel.requests + kernel.waits)} requests, ${formatCount(kernel.waits)} waited, ${formatCount(kernel.waiting)} wait now`,
    ],
    ['catalogs', `${formatCount(catalogs)} attached`],
    ['process', processText(status)],
    ...Object.entries(parts).map(([name, part]): Row => [spaced(name), plainText(part)]),
  ];
}

const alarm = (text: string) => styled('red', text, process.stdout);

function revisionText({ snapshot }: MountStatus, nowSeconds: number): string {
  const { revision, tag, publishedSeconds, isPinned } = snapshot;
  return [
    revision === undefined ? 'unknown' : String(revision),
    tag === undefined ? undefined : `tag ${tag}`,
    publishedSeconds === undefined
      ? undefined
      : `published ${formatDuration(nowSeconds - publishedSeconds)} ago`,
    isPinned ? 'pinned' : undefined,
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

function updatesText({ updates, snapshot }: MountStatus, nowSeconds: number): string | undefined {
  if (updates === undefined) return snapshot.isPinned ? 'never, it is pinned' : undefined;
  const { checkedSeconds, nextCheckInSeconds, isPushed, lagging, error } = updates;
  return [
    checkedSeconds === undefined
      ? 'not looked yet'
      : `looked ${formatDuration(nowSeconds - checkedSeconds)} ago`,
    isPushed ? 'told by the server' : undefined,
    nextCheckInSeconds === undefined ? undefined : `next in ${formatDuration(nextCheckInSeconds)}`,
    lagging.length === 0 ? undefined : alarm(`${lagging.length} of the servers behind`),
    error === undefined ? undefined : alarm(`failed: ${error}`),
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

function expiryText(seconds: number | undefined, nowSeconds: number): string | undefined {
  if (seconds === undefined) return undefined;
  if (seconds > nowSeconds) return `expires in ${formatDuration(seconds - nowSeconds)}`;
  return alarm(`expired ${formatDuration(nowSeconds - seconds)} ago`);
}

function placeText(count: number, name: string): string {
  return count > 1 ? `${name}, one of ${count}` : name;
}

function fetchedText({ counters: { requests, failures, bytes }, lastError }: ServersStatus): string {
  const failed = failures === 0 ? 'none failed' : alarm(`${formatCount(failures)} failed`);
  const last = failures === 0 || lastError === undefined ? '' : `, the last: ${lastError.message}`;
  return `${formatCount(requests)} requests, ${formatBytes(bytes)}, ${failed}${last}`;
}

function slowestText({ slowest }: ServersStatus): string | undefined {
  return (
    slowest && `${(slowest.milliseconds / 1000).toFixed(2)} s for ${slowest.path} from ${slowest.server}`
  );
}

function cacheText({
  state,
  usedBytes,
  limitBytes,
  pinnedBytes,
  freeBytes,
  folder,
  lastError,
}: CacheStatus): string {
  return [
    `${formatBytes(usedBytes)} of ${formatBytes(limitBytes)}`,
    pinnedBytes > 0 ? `${formatBytes(pinnedBytes)} pinned` : undefined,
    `${folder === undefined ? 'in memory' : `in ${folder}`}`,
    freeBytes === undefined ? undefined : `${formatBytes(freeBytes)} free on disk`,
    state === 'good' ? undefined : alarm([state, lastError].filter((part) => part !== undefined).join(': ')),
  ]
    .filter((part) => part !== undefined)
    .join(', ');
}

/** Of requests, not of objects: what is in the kernel's own cache it does not even ask for. */
function hitText({ kernel: { requests, waits } }: MountStatus): string {
  return `${percent(requests, requests + waits)} of requests answered without waiting`;
}

export function percent(part: number, whole: number): string {
  return whole === 0 ? 'n/a' : `${((100 * part) / whole).toFixed(1)} %`;
}

function processText({
  process: { pid, uptimeSeconds, residentBytes, descriptors, descriptorLimit },
  version,
}: MountStatus): string {
  return `pid ${pid}, up ${formatDuration(uptimeSeconds)}, ${formatBytes(residentBytes)} memory, ${descriptors} of ${formatCount(descriptorLimit)} descriptors, version ${version}`;
}

const SHOWN_TROUBLES = 3;

function troubleLines({ log }: MountStatus, nowSeconds: number): string[] {
  return log.last.slice(-SHOWN_TROUBLES).map(({ seconds, level, message, fields }) => {
    const text = Object.entries(fields).map(([key, value]) => `${key}=${value}`);
    const line = `  ${level.padEnd(10)}  ${formatDuration(nowSeconds - seconds)} ago: ${message} ${text.join(' ')}`;
    return styled(level === 'error' ? 'red' : 'yellow', line.trimEnd(), process.stdout);
  });
}

/** `readAhead` as `read ahead`. */
const spaced = (name: string) => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Parts that this file does not know: their numbers and words, one after another. One that does nothing says nothing. */
function plainText(part: PartStatus): string | undefined {
  const words = Object.entries(part)
    .filter(([, value]) => Boolean(value) && ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) =>
      /bytes$/i.test(name)
        ? `${name.slice(0, -5)} ${formatBytes(Number(value))}`.trim()
        : `${name} ${typeof value === 'number' ? Number(value.toFixed(1)) : value}`,
    );
  return words.length === 0 ? undefined : words.join(', ');
}

// ---- many mounts ----

const OVERVIEW_COLUMNS = [
  'MOUNT POINT',
  'REPOSITORY',
  'STATE',
  'REVISION',
  'AGE',
  'CACHE',
  'WAITING',
  'ERRORS',
];

function formatOverview(reports: readonly MountReport[], nowSeconds: number): string {
  const rows = reports.map((report) => {
    const { mountpoint, fqrn, state, status, problem } = report;
    const word = state === 'alive' ? 'ok' : state.toUpperCase();
    if (status === undefined) return { cells: [mountpoint, fqrn, word], state, rest: problem ?? '' };
    const { revision, publishedSeconds } = status.snapshot;
    const cells = [
      revision === undefined ? '-' : String(revision),
      publishedSeconds === undefined ? '-' : formatDuration(nowSeconds - publishedSeconds),
      formatBytes(status.cache?.usedBytes ?? 0),
      String(status.kernel.waiting),
      String(status.log.errors),
    ];
    return { cells: [mountpoint, fqrn, word, ...cells], state, rest: '' };
  });
  const widths = OVERVIEW_COLUMNS.map((title, i) =>
    Math.max(title.length, ...rows.map(({ cells }) => cells[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) => cells.map((cell, i) => cell.padEnd(widths[i]!)).join('  ');
  const lines = rows.map(({ cells, state, rest }) => {
    const [before, word, after] = [cells.slice(0, 2), cells[2]!, cells.slice(3)];
    const padded = word.padEnd(widths[2]!);
    const shown = styled(STATE_STYLE[state], padded, process.stdout);
    const tail = rest === '' ? after.map((cell, i) => cell.padEnd(widths[i + 3]!)).join('  ') : rest;
    return `${line(before)}  ${shown}  ${tail}`.trimEnd();
  });
  return [line(OVERVIEW_COLUMNS).trimEnd(), ...lines].join('\n');
}
