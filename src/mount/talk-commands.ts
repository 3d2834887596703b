/**
 * The commands of `cvmfs_talk` (docs/manual/status.md): which of them mean something here, and what of the mount does it. Answers have the
 * shape that scripts look for; what is done is done by the control routes.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { rowOf, type SettingName } from '../config/setting-table.ts';
import { errorCodeOf, messageOf, ThimbleError } from '../core/errors.ts';
import { findMount } from '../node/fuse-mount.ts';
import type { ControlledMount } from './control.ts';
import type { CacheChange } from './control-cache.ts';
import type { CatalogReport, RemountResult } from './control-mount.ts';
import type { ControlRoute, TextReply } from './control-route.ts';
import { STATE_FILES, stateFolderOf } from './state-folder.ts';
import { revisionOf, statusOf, VERSION } from './status.ts';
import { NOT_SUPPORTED, numberIn, OK, type TalkCommand, type TalkContext } from './talk-command.ts';
import { NETWORK_COMMANDS } from './talk-network.ts';
import type { Answerer } from './talk-server.ts';

const MIB = 1024 * 1024;

const say = (name: string, answer: TalkCommand['answer']): TalkCommand => ({ name, answer });
const does = (name: string, argument: string, answer: TalkCommand['answer']): TalkCommand => ({
  name,
  argument,
  answer,
});
/** Nothing here that it could be done to. */
const idle = (name: string): TalkCommand => say(name, () => OK);
const refuses = (name: string): TalkCommand => say(name, () => NOT_SUPPORTED);

const MOUNT_COMMANDS: readonly TalkCommand[] = [
  say('mountpoint', ({ mount }) => `${mount.mountpoint}\n`),
  say('device id', ({ mount }) => `${findMount(mount.mountpoint)?.device ?? '0:0'}\n`),
  say('version', () => `${VERSION}.0 (Thimble)\n`),
  say('version patchlevel', () => '0\n'),
  say('revision', ({ mount }) => `${revisionOf(mount.mounted()) ?? 0}\n`),
  say('pid', () => `${process.pid}\n`),
  // There is none: each mount looks after the cache itself.
  say('pid cachemgr', () => `${process.pid}\n`),
  say('pid watchdog', ({ mount }) => `${supervisorOf(mount)}\n`),
  say('parameters', ({ mount }) => mount.settings.map(parameterLine).join('')),
  say('hotpatch history', ({ mount }) => {
    const { uptimeSeconds } = statusOf(mount).process;
    return `${new Date(Date.now() - 1000 * uptimeSeconds).toUTCString()}    (start of Thimble ${VERSION})\n`;
  }),
  say('open catalogs', async ({ ask }) => {
    const { catalogs } = (await ask('GET', '/catalogs')) as { catalogs: readonly CatalogReport[] };
    return catalogs.map((catalog) => catalogLine(catalog, catalogs)).join('');
  }),
  say('internal affairs', async ({ mount }) => {
    const { figuresOf } = await import('./metrics.ts');
    const lines = figuresOf(statusOf(mount)).map(({ name, value, help }) => `${name}|${value}|${help}\n`);
    return `Raw Counters:\nName|Value|Description\n${lines.join('')}`;
  }),
  say('metrics prometheus', async ({ ask }) => ((await ask('GET', '/metrics')) as TextReply).text),
  say('reset error counters', async ({ ask }) => {
    await ask('DELETE', '/errors');
    return OK;
  }),
  say('remount', remount),
  say('remount sync', remount),
  say('max ttl info', ({ mount }) => {
    const seconds = mount.updates?.status().maxTtlSeconds;
    return seconds === undefined ? 'unset\n' : `${Math.ceil(seconds / 60)} minutes\n`;
  }),
  does('max ttl set', '<minutes>', async ({ ask }, argument) => {
    await ask('POST', '/max-ttl', { seconds: 60 * numberIn(argument) });
    return OK;
  }),
  say('tear down to read-only', async ({ ask }) => {
    await ask('POST', '/read-only');
    return 'In read-only mode\n';
  }),
];

const CACHE_COMMANDS: readonly TalkCommand[] = [
  say('cache instance', ({ mount }) => {
    const { kind, folder } = cacheOf(mount);
    return `Thimble ${kind} cache (cache directory: ${folder ?? 'none'})\n`;
  }),
  say('cache size', ({ mount }) => {
    const { usedBytes, pinnedBytes } = cacheOf(mount);
    return `Current cache size is ${sizeText(usedBytes)}, pinned: ${sizeText(pinnedBytes)}\n`;
  }),
  say('cache limit get', ({ mount }) => `${Math.floor(cacheOf(mount).limitBytes / MIB)}\n`),
  does('cache limit set', '<MB>', () => 'Limit not reset\n'),
  say('cache list', async ({ ask }) => idLines(await ask('GET', '/cache'))),
  say('cache list pinned', async ({ ask }) => idLines(await ask('GET', '/cache/pinned'))),
  say('cache list catalogs', async ({ ask, mount }) => {
    const { catalogs } = (await ask('GET', '/catalogs')) as { catalogs: readonly CatalogReport[] };
    const lines = catalogs.map(
      ({ path, hash }) => `file catalog at ${mount.address.fqrn}:${path} (${hash})\n`,
    );
    return lines.join('');
  }),
  does('cleanup', '<MB>', async ({ ask }, argument) => {
    const { isDone } = (await ask('POST', '/cache/shrink', { bytes: numberIn(argument) * MIB })) as {
      isDone: boolean;
    };
    return isDone ? OK : 'Not fully cleaned (some of it is pinned)\n';
  }),
  does('cleanup rate', '<minutes>', ({ mount }, argument) => {
    const count = mount.access.cache.cleanupsWithin?.(60 * numberIn(argument));
    return count === undefined ? NOT_SUPPORTED : `${count}\n`;
  }),
  does('evict', '<path>', (context, path) => keep(context, '/evict', path, 'No such regular file\n')),
  does('pin', '<path>', (context, path) =>
    keep(context, '/pin', path, 'No such regular file or pinning failed\n'),
  ),
];

/** All that are known; the rest of those of the reference are answered as something unknown is. */
export const TALK_COMMANDS: readonly TalkCommand[] = [
  ...MOUNT_COMMANDS,
  ...CACHE_COMMANDS,
  ...NETWORK_COMMANDS,
  // Neither is kept here.
  ...['tracebuffer flush', 'drop metadata caches'].map(idle),
  ...['detach nested catalogs', 'latency', 'vfs inodes', 'vfs entries'].map(refuses),
  // A mount that follows its repository would go back at the next look, and a pinned one never moves.
  does('chroot', '<hash>', () => NOT_SUPPORTED),
  does('send mount fd', '<socket>', () => NOT_SUPPORTED),
];

/** Longer names first: `cleanup rate` is no `cleanup`. */
const BY_LENGTH = TALK_COMMANDS.toSorted((a, b) => b.name.length - a.name.length);

/** Answers commands with what the routes of a mount do. */
export function talkAnswerer(mount: ControlledMount, routes: readonly ControlRoute[]): Answerer {
  const ask: TalkContext['ask'] = async (method, path, body = {}) => {
    const route = routes.find((one) => one.method === method && one.path === path);
    if (route === undefined) throw new ThimbleError('UNSUPPORTED', 'this mount has nothing of the kind');
    return route.handle({ query: new URLSearchParams(), body });
  };
  return async (line) => {
    const command = BY_LENGTH.find(({ name }) => line === name || line.startsWith(`${name} `));
    const argument = line.slice((command?.name.length ?? 0) + 1).trim();
    if (command === undefined || (command.argument === undefined && argument !== ''))
      return 'unknown command\n';
    if (command.argument !== undefined && argument === '')
      return `Usage: ${command.name} ${command.argument}\n`;
    return command.answer({ mount, ask }, argument);
  };
}

async function remount({ ask, mount }: TalkContext): Promise<string> {
  // It shows what it was told to.
  if (mount.updates === undefined) return 'Catalog up to date\n';
  try {
    const { before, revision } = (await ask('POST', '/remount')) as RemountResult;
    return before === revision ? 'Catalog up to date\n' : 'New revision applied\n';
  } catch (error) {
    mount.log.warn('cannot look for a new revision', { error: messageOf(error) });
    return errorCodeOf(error) === 'STORAGE' ? 'Failed (no space)\n' : 'Failed\n';
  }
}

async function keep({ ask }: TalkContext, route: string, path: string, failure: string): Promise<string> {
  try {
    const { files } = (await ask('POST', route, { paths: [path] })) as CacheChange;
    return files === 0 ? failure : OK;
  } catch (error) {
    if (['NOT_FOUND', 'LIMIT', 'STORAGE', 'UNSUPPORTED'].includes(errorCodeOf(error))) return failure;
    throw error;
  }
}

function cacheOf(mount: ControlledMount) {
  const cache = statusOf(mount).cache;
  if (cache === undefined) throw new ThimbleError('UNSUPPORTED', 'the cache of this mount tells nothing');
  return cache;
}

function idLines(ids: unknown): string {
  return (ids as { ids: readonly string[] }).ids.map((id) => `${id}\n`).join('');
}

function sizeText(bytes: number): string {
  return `${Math.floor(bytes / MIB)}MB (${bytes} Bytes)`;
}

/** 0 where nobody looks after the process. */
function supervisorOf({ mountpoint }: ControlledMount): number {
  const pid = Number(readFileSync(join(stateFolderOf(mountpoint), STATE_FILES.pid), 'latin1'));
  return pid === process.pid ? 0 : pid;
}

/** Under the parameter of CernVM-FS where that has the same form, else under our own name. */
function parameterLine({ name, value, origin, cvmfs }: ControlledMount['settings'][number]): string {
  const row = rowOf(name as SettingName);
  const shown = row.fromCvmfs === undefined ? (cvmfs[0] ?? name) : name;
  const text = Array.isArray(value) ? value.flat().join(row.kind.separator ?? ';') : plain(value);
  return `${shown}=${text}    # from ${origin.where}\n`;
}

function plain(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'object' ? JSON.stringify(value) : String(value ?? '');
}

/** Indented by the catalogs above it; the root has no name. */
function catalogLine({ path }: CatalogReport, all: readonly CatalogReport[]): string {
  const above = all.filter(
    (one) => one.path !== path && (one.path === '/' || path.startsWith(`${one.path}/`)),
  );
  return `${'    '.repeat(above.length)}-> ${path === '/' ? '' : path}\n`;
}
