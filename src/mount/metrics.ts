/**
 * The status of a mount as Prometheus text. Names are stable: docs/manual/status.md lists them. Loaded by the first request for them.
 */

import { Counter, Gauge, Registry } from '@prometheus-io/client';
import type { MountStatus } from './status.ts';

interface Metric {
  /** Behind `thimble_mount_`; counters end with `_total`. */
  readonly name: string;
  readonly help: string;
  /** `undefined`: this mount has no such number. */
  readonly value: (status: MountStatus) => number | undefined;
}

const metric = (name: string, help: string, value: Metric['value']): Metric => ({ name, help, value });
const flag = (isSo: boolean | undefined) => (isSo === undefined ? undefined : Number(isSo));

export const METRICS: readonly Metric[] = [
  metric('revision', 'Revision that is shown', ({ snapshot }) => snapshot.revision),
  metric(
    'published_timestamp_seconds',
    'When that revision was published',
    ({ snapshot }) => snapshot.publishedSeconds,
  ),
  metric(
    'whitelist_expires_timestamp_seconds',
    'When the whitelist expires that it was trusted by',
    (status) => status.whitelistExpiresSeconds,
  ),
  metric(
    'checked_timestamp_seconds',
    'When a newer revision was last looked for',
    ({ updates }) => updates?.checkedSeconds,
  ),
  metric(
    'update_failed',
    '1 if the last look for a newer revision failed',
    ({ updates }) => updates && flag(updates.error !== undefined),
  ),
  metric('moves_total', 'Times that the mount went to another revision', ({ updates }) => updates?.moves),
  metric(
    'servers_lagging',
    'Servers that showed an older revision than another',
    ({ updates }) => updates?.lagging.length,
  ),
  metric('offline', '1 if it was told to ask no servers', ({ isOffline }) => flag(isOffline)),
  metric('catalogs', 'Catalogs attached', ({ catalogs }) => catalogs),

  metric('uptime_seconds', 'Since the process was started', ({ process }) => process.uptimeSeconds),
  metric('resident_bytes', 'Memory of the process', ({ process }) => process.residentBytes),
  metric('cpu_seconds_total', 'Processor time of the process', ({ process }) => process.cpuSeconds),
  metric('descriptors', 'Open descriptors of the process', ({ process }) => process.descriptors),
  metric('descriptor_limit', 'Descriptors that it may have', ({ process }) => process.descriptorLimit),
  metric('log_warnings_total', 'Warnings, also those that were only counted', ({ log }) => log.warnings),
  metric('log_errors_total', 'Errors, also those that were only counted', ({ log }) => log.errors),

  metric('kernel_requests_total', 'Requests of the kernel answered at once', ({ kernel }) => kernel.requests),
  metric(
    'kernel_waits_total',
    'Requests of the kernel that waited for a fetch',
    ({ kernel }) => kernel.waits,
  ),
  metric('kernel_waiting', 'Requests of the kernel that wait now', ({ kernel }) => kernel.waiting),
  metric(
    'kernel_waited_seconds_total',
    'Time in which at least one process waited',
    ({ kernel }) => kernel.waitedMs / 1000,
  ),

  metric('fetches_total', 'Requests sent to servers', ({ network }) => network.counters.requests),
  metric(
    'fetch_failures_total',
    'Requests to servers that failed',
    ({ network }) => network.counters.failures,
  ),
  metric('fetched_bytes_total', 'Bytes received from servers', ({ network }) => network.counters.bytes),
  metric(
    'round_trips_total',
    'Requests sent while no other was under way',
    ({ network }) => network.counters.roundTrips,
  ),
  metric(
    'slowest_fetch_seconds',
    'The slowest request so far',
    ({ network }) => network.slowest && network.slowest.milliseconds / 1000,
  ),

  metric('cache_used_bytes', 'Content in the cache', ({ cache }) => cache?.usedBytes),
  metric('cache_limit_bytes', 'What it may grow to', ({ cache }) => cache?.limitBytes),
  metric('cache_pinned_bytes', 'Content that is never dropped', ({ cache }) => cache?.pinnedBytes),
  metric('cache_disk_free_bytes', 'Room on its disk', ({ cache }) => cache?.freeBytes),
  metric('cache_healthy', '0 if it cannot be written', ({ cache }) => cache && flag(cache.state === 'good')),
  metric('cache_hits_total', 'Reads that found content', ({ cache }) => cache?.hits),
  metric('cache_misses_total', 'Reads that found none', ({ cache }) => cache?.misses),
  metric('cache_dropped_bytes_total', 'Content dropped to make room', ({ cache }) => cache?.droppedBytes),
  metric(
    'cache_read_failures_total',
    'Content found damaged or unreadable',
    ({ cache }) => cache?.readFailures,
  ),
  metric(
    'cache_write_failures_total',
    'Content that could not be written',
    ({ cache }) => cache?.writeFailures,
  ),
];

export interface Figure {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

/** Those that this mount has. */
export function figuresOf(status: MountStatus): Figure[] {
  return METRICS.flatMap(({ name, help, value: read }) => {
    const value = read(status);
    return value === undefined ? [] : [{ name, help, value }];
  });
}

const PREFIX = 'thimble_mount_';

/** All numbers that there are, with the repository and the mount point as labels. */
export async function renderMetrics(status: MountStatus): Promise<{ contentType: string; text: string }> {
  const registry = new Registry();
  const labels = { fqrn: status.fqrn, mountpoint: status.mountpoint };
  const labelNames = ['fqrn', 'mountpoint'];
  const registers = [registry];
  for (const { name, help, value } of figuresOf(status)) {
    const described = { name: PREFIX + name, help, labelNames, registers };
    if (name.endsWith('_total')) new Counter(described).inc(labels, value);
    else new Gauge(described).set(labels, value);
  }
  const info = new Gauge({
    name: `${PREFIX}info`,
    help: 'What is mounted',
    labelNames: [...labelNames, 'root_hash', 'tag', 'version'],
    registers,
  });
  const { rootCatalog, tag = '' } = status.snapshot;
  info.set({ ...labels, root_hash: rootCatalog, tag, version: status.version }, 1);
  const operations = new Counter({
    name: `${PREFIX}operations_total`,
    help: 'Requests of the kernel by operation',
    labelNames: [...labelNames, 'operation'],
    registers,
  });
  for (const [operation, count] of Object.entries(status.kernel.operations))
    operations.inc({ ...labels, operation }, count);
  return { contentType: registry.contentType, text: await registry.metrics() };
}
