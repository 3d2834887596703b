/** What can be asked of every mount: how it is, what it has attached, its log, and to look for a new revision. */

import { displayBytes } from '../core/bytes/utf8.ts';
import { entriesOf, zeroCounters } from '../core/catalog/counters.ts';
import { ThimbleError } from '../core/errors.ts';
import { formatLine, LOG_LEVELS, type LogLevel } from '../node/log.ts';
import type { ControlledMount } from './control.ts';
import { type ControlRoute, countIn, stringIn, TextReply } from './control-route.ts';
import { statusOf } from './status.ts';

export interface CatalogReport {
  /** Absolute in the tree. */
  readonly path: string;
  readonly hash: string;
  /** Its own and those of all catalogs below. */
  readonly entries: number;
  readonly ownEntries: number;
}

const DEFAULT_LINES = 50;
const MAX_TTL_SECONDS = 2 ** 32;

export function mountRoutes(mount: ControlledMount): ControlRoute[] {
  const { log } = mount;
  return [
    { method: 'GET', path: '/status', handle: () => statusOf(mount) },
    {
      method: 'GET',
      path: '/metrics',
      handle: async () => {
        const { renderMetrics } = await import('./metrics.ts');
        const { contentType, text } = await renderMetrics(statusOf(mount));
        return new TextReply(contentType, text);
      },
    },
    { method: 'GET', path: '/catalogs', handle: () => ({ catalogs: catalogsOf(mount) }) },
    {
      method: 'GET',
      path: '/log',
      handle: ({ query }) => {
        const count = Number(query.get('lines') ?? DEFAULT_LINES);
        return new TextReply(
          'text/plain; charset=utf-8',
          log
            .last(count)
            .map((entry) => formatLine('text', entry))
            .join(''),
        );
      },
    },
    {
      method: 'POST',
      path: '/log-level',
      handle: (request) => {
        const level = stringIn(request, 'level');
        if (!LOG_LEVELS.includes(level as LogLevel)) {
          throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(level)} as a log level`, {
            hint: `levels are: ${LOG_LEVELS.join(', ')}`,
          });
        }
        log.level = level as LogLevel;
        return { level };
      },
    },
    {
      method: 'DELETE',
      path: '/errors',
      handle: () => {
        log.forgetTroubles();
        return {};
      },
    },
    { method: 'POST', path: '/remount', handle: () => remount(mount) },
    {
      method: 'POST',
      path: '/max-ttl',
      handle: (request) => {
        mount.updates?.limitTtl(countIn(request, 'seconds', 0, MAX_TTL_SECONDS));
        return mount.updates?.status() ?? {};
      },
    },
  ];
}

export interface RemountResult {
  readonly before: number | undefined;
  readonly revision: number | undefined;
  readonly rootHash: string;
}

async function remount({ updates, mounted, mountpoint }: ControlledMount): Promise<RemountResult> {
  const before = mounted().snapshot;
  if (updates === undefined) {
    throw new ThimbleError(
      'UNSUPPORTED',
      `Cannot look for a new revision for ${mountpoint}: it is pinned to ${before.tag ?? before.rootCatalog}`,
      {
        hint: 'mount it without --tag, --date and --root-hash to follow the newest revision',
      },
    );
  }
  await updates.checkNow();
  const { revision, rootCatalog } = mounted().snapshot;
  return { before: before.revision, revision, rootHash: rootCatalog };
}

function catalogsOf({ mounted }: ControlledMount): CatalogReport[] {
  const { catalogs } = mounted().vfs;
  const reports: CatalogReport[] = [];
  for (let i = 0; i < catalogs.count; i++) {
    const slot = catalogs.slot(i);
    if (slot === undefined || !catalogs.isCurrent(slot)) continue;
    const counters = slot.reader.counters();
    reports.push({
      path: displayBytes(slot.mountpoint) || '/',
      hash: slot.hash,
      entries: entriesOf(counters),
      ownEntries: entriesOf({ self: counters.self, subtree: zeroCounters() }),
    });
  }
  return reports.sort((a, b) => (a.path < b.path ? -1 : 1));
}
