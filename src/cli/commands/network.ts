import type { Command } from 'commander';
import { parseProxyGroups } from '../../client/network/proxy-groups.ts';
import type { ServersStatus } from '../../client/network/servers-status.ts';
import { type ControlCall, callControlJson } from '../../mount/control-client.ts';
import { controlSocketOf } from '../../mount/status-mounts.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult, styled } from '../terminal.ts';

/** Asking servers twice, some of which may be gone. */
const TIMEOUT_MS = 120_000;

export function configure(network: Command): void {
  network
    .helpCommand(false)
    .addHelpText('after', '\nChanges last until the mount ends.\n\nExample:\n  thimble network show /mnt/os');
  add(network, 'show <folder>', 'list servers and proxies of a mount, with those in use', '', () =>
    get('/network'),
  );
  add(
    network,
    'switch-server <folder> [server]',
    'use the next server, or this one',
    ' http://mirror/cvmfs/os.example.org',
    ([server]) => post('/server/switch', server === undefined ? {} : { server }),
  );
  add(
    network,
    'set-servers <folder> <servers...>',
    'use other servers, in this order',
    ' http://a/cvmfs/os.example.org http://b/cvmfs/os.example.org',
    (servers) => post('/server/set', { servers }),
  );
  add(network, 'sort-servers <folder>', 'put the servers in the order of their speed', '', () =>
    post('/server/probe', {}),
  );
  add(network, 'switch-proxy <folder>', 'use the next proxy', '', () => post('/proxy/switch', {}));
  add(
    network,
    'set-proxies <folder> <proxies>',
    'use other proxies: groups with ";" between them, members with "|"',
    ' "http://a:3128|http://b:3128;DIRECT"',
    ([proxies = '']) => post('/proxy/set', { groups: parseProxyGroups(proxies) }),
  );
  addSwitch(network, 'offline <folder>', 'ask no servers: read what is cached, and nothing else', 'POST');
  addSwitch(network, 'online <folder>', 'ask servers again', 'DELETE');
}

type Request = Omit<ControlCall, 'timeoutMs'>;

const get = (path: string): Request => ({ method: 'GET', path });
const post = (path: string, body: Readonly<Record<string, unknown>>): Request => ({
  method: 'POST',
  path,
  body,
});

function add(
  network: Command,
  usage: string,
  summary: string,
  example: string,
  requestOf: (words: readonly string[]) => Request,
): void {
  const [name = ''] = usage.split(' ');
  network
    .command(usage)
    .summary(summary)
    .addHelpText('after', `\nExample:\n  thimble network ${name} /mnt/os${example}`)
    .action(async (folder: string, ...rest: unknown[]) => {
      const self = rest.at(-1) as Command;
      const request = requestOf(self.args.slice(1));
      const status = await callControlJson<ServersStatus>(controlSocketOf(folder), {
        ...request,
        timeoutMs: TIMEOUT_MS,
      });
      printResult(self.optsWithGlobals<GlobalOptions>(), status, describe(status));
    });
}

function addSwitch(network: Command, usage: string, summary: string, method: 'POST' | 'DELETE'): void {
  const [name = ''] = usage.split(' ');
  network
    .command(usage)
    .summary(summary)
    .addHelpText('after', `\nExample:\n  thimble network ${name} /mnt/os`)
    .action(async (folder: string, _: unknown, self: Command) => {
      const call = { method, path: '/read-only', timeoutMs: TIMEOUT_MS };
      const result = await callControlJson<{ isOffline: boolean }>(controlSocketOf(folder), call);
      const text = result.isOffline ? `${folder} shows cached content only` : `${folder} asks its servers`;
      printResult(self.optsWithGlobals<GlobalOptions>(), result, text);
    });
}

function describe({ servers, proxies }: ServersStatus): string {
  const width = Math.max(
    ...[...servers.map(({ address }) => address), ...proxies.map(({ name }) => name)].map(
      ({ length }) => length,
    ),
  );
  const mark = (isCurrent: boolean) => (isCurrent ? styled('green', '*', process.stdout) : ' ');
  const serverLines = servers.map(({ address, isCurrent, requests, failures, bytes, lastError }) => {
    const counts = `${formatCount(requests)} requests, ${formatBytes(bytes)}`;
    const failed =
      failures === 0
        ? ''
        : `, ${formatCount(failures)} failed${lastError === undefined ? '' : `: ${lastError}`}`;
    return `${mark(isCurrent)} server  ${address.padEnd(width)}  ${counts}${failed}`;
  });
  const proxyLines = proxies.map(
    ({ group, name, isCurrent, isBurned }) =>
      `${mark(isCurrent)} proxy   ${name.padEnd(width)}  group ${group}${isBurned ? ', failed lately' : ''}`,
  );
  return [...serverLines, ...proxyLines].join('\n');
}
