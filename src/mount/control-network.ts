/** What can be asked of the way to the servers: to take another. */

import { OTHER_PROXIES, type OtherProxy } from '../client/network/proxy-failover.ts';
import type { Servers } from '../client/network/servers.ts';
import type { ServersStatus } from '../client/network/servers-status.ts';
import { ThimbleError } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import type { ControlledMount } from './control.ts';
import { type ControlRequest, type ControlRoute, stringIn, stringsIn } from './control-route.ts';

export function networkRoutes({ access: { servers, external }, log }: ControlledMount): ControlRoute[] {
  return [
    ...routesOf('', servers, log),
    ...(external === undefined ? [] : routesOf('/external', external, log)),
  ];
}

function routesOf(prefix: string, servers: Servers, log: Log): ControlRoute[] {
  const changed = (what: string): ServersStatus => {
    const status = servers.status();
    log.info(what, { server: status.server, proxy: status.proxy });
    return status;
  };
  return [
    { method: 'GET', path: `${prefix}/network`, handle: () => servers.status() },
    {
      method: 'POST',
      path: `${prefix}/server/switch`,
      handle: (request) => {
        servers.switchServer(request.body['server'] === undefined ? undefined : stringIn(request, 'server'));
        return changed('server switched by hand');
      },
    },
    {
      method: 'POST',
      path: `${prefix}/server/set`,
      handle: (request) => {
        servers.setServers(stringsIn(request, 'servers'));
        return changed('servers set by hand');
      },
    },
    {
      method: 'POST',
      path: `${prefix}/server/probe`,
      handle: async () => {
        await servers.probeOrder();
        return changed('servers ordered by hand');
      },
    },
    {
      method: 'POST',
      path: `${prefix}/proxy/switch`,
      handle: (request) => {
        servers.switchProxy(proxyIn(request));
        return changed('proxy switched by hand');
      },
    },
    {
      method: 'POST',
      path: `${prefix}/proxy/set`,
      handle: (request) => {
        servers.setProxies(groupsIn(request));
        return changed('proxies set by hand');
      },
    },
  ];
}

function proxyIn({ body }: ControlRequest): OtherProxy {
  const { to = 'next' } = body;
  const other = OTHER_PROXIES.find((one) => one === to);
  if (other !== undefined) return other;
  throw new ThimbleError(
    'USAGE',
    `Cannot use the request: "to" has to be one of ${OTHER_PROXIES.join(', ')}`,
  );
}

/** Groups of proxies in the body; none means direct. Throws USAGE. */
function groupsIn({ body }: ControlRequest): string[][] {
  const groups: unknown = body['groups'];
  const isGroup = (group: unknown) => Array.isArray(group) && group.every((one) => typeof one === 'string');
  if (Array.isArray(groups) && groups.every(isGroup)) return groups as string[][];
  throw new ThimbleError('USAGE', 'Cannot use the request: "groups" has to be a list of lists of proxies');
}
