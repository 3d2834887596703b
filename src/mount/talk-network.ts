/** The commands of `cvmfs_talk` about servers and proxies. */

import { parseProxyGroups } from '../client/network/proxy-groups.ts';
import { parseServerList } from '../client/network/server-list.ts';
import type { ServerStatus, ServersStatus } from '../client/network/servers-status.ts';
import { NOT_SUPPORTED, OK, type TalkCommand, type TalkContext } from './talk-command.ts';

/** Of the repository, or those of external data. */
interface Way {
  /** In front of a command, and of the path of a route. */
  readonly word: string;
  readonly path: string;
}

const WAYS: readonly Way[] = [
  { word: '', path: '' },
  { word: 'external ', path: '/external' },
];

export const NETWORK_COMMANDS: readonly TalkCommand[] = [
  ...WAYS.flatMap(wayCommands),
  { name: 'host probe', answer: (context) => done(context, '/server/probe', {}) },
  { name: 'proxy rebalance', answer: (context) => done(context, '/proxy/switch', { to: 'any' }) },
  { name: 'proxy group switch', answer: (context) => done(context, '/proxy/switch', { to: 'next-group' }) },
  { name: 'timeout info', answer: ({ mount }) => timeoutText(mount.network) },
  { name: 'timeout set', argument: '<proxy> <direct>', answer: () => NOT_SUPPORTED },
  { name: 'proxy fallback', argument: '<proxy list>', answer: () => NOT_SUPPORTED },
  { name: 'host probe geo', answer: () => NOT_SUPPORTED },
  { name: 'nameserver get', answer: () => 'DNS server not set.\n' },
  { name: 'nameserver set', argument: '<host>', answer: () => NOT_SUPPORTED },
];

function wayCommands({ word, path }: Way): TalkCommand[] {
  const shown = async ({ ask, mount }: TalkContext) =>
    path !== '' && mount.access.external === undefined
      ? undefined
      : ((await ask('GET', `${path}/network`)) as ServersStatus);
  return [
    { name: `${word}host info`, answer: async (context) => hostText((await shown(context))?.servers) },
    { name: `${word}host switch`, answer: (context) => done(context, `${path}/server/switch`, {}) },
    {
      name: `${word}host set`,
      argument: '<host list>',
      answer: (context, text) =>
        done(context, `${path}/server/set`, { servers: parseServerList(text, context.mount.address.fqrn) }),
    },
    { name: `${word}proxy info`, answer: async (context) => proxyText(await shown(context)) },
    {
      name: `${word}proxy set`,
      argument: '<proxy list>',
      answer: (context, text) => done(context, `${path}/proxy/set`, { groups: parseProxyGroups(text) }),
    },
  ];
}

async function done({ ask }: TalkContext, path: string, body: Record<string, unknown>): Promise<string> {
  await ask('POST', path, body);
  return OK;
}

function hostText(servers: readonly ServerStatus[] | undefined): string {
  if (servers === undefined) return 'No hosts defined\n';
  const lines = servers.map(
    ({ address, probedMs }, index) => `  [${index}] ${address} (${probeText(probedMs)})\n`,
  );
  const active = servers.findIndex(({ isCurrent }) => isCurrent);
  return `${lines.join('')}Active host ${active}: ${servers[active]?.address ?? ''}\n`;
}

function probeText(probedMs: ServerStatus['probedMs']): string {
  if (probedMs === undefined) return 'unprobed';
  return probedMs === 'down' ? 'host down' : `${Math.round(probedMs)} ms`;
}

/** Groups count from 0 there. */
function proxyText(status: ServersStatus | undefined): string {
  if (status === undefined) return 'No proxies defined\n';
  const { proxies, proxy } = status;
  const groups = new Map<number, string[]>();
  for (const { group, name } of proxies) groups.set(group, [...(groups.get(group) ?? []), name]);
  const lines = [...groups].map(([group, names]) => `[${group - 1}] ${names.join(', ')}\n`);
  const active = proxies.find(({ isCurrent }) => isCurrent);
  return `Load-balance groups:\n${lines.join('')}Active proxy: [${(active?.group ?? 1) - 1}] ${proxy}\n`;
}

function timeoutText(network: TalkContext['mount']['network']): string {
  const text = (ms: number | undefined) => (ms ? `${ms / 1000}s` : 'no timeout');
  return `Timeout with proxy: ${text(network?.proxyTimeoutMs)}\nTimeout without proxy: ${text(network?.directTimeoutMs)}\n`;
}
