/** What can be asked of the way to the servers: to take another. */

import type { ServersStatus } from '../client/network/servers-status.ts';
import { ThimbleError } from '../core/errors.ts';
import type { ControlledMount } from './control.ts';
import { type ControlRequest, type ControlRoute, stringIn, stringsIn } from './control-route.ts';

export function networkRoutes({ access: { servers }, log }: ControlledMount): ControlRoute[] {
  const changed = (what: string): ServersStatus => {
    const status = servers.status();
    log.info(what, { server: status.server, proxy: status.proxy });
    return status;
  };
  return [
    { method: 'GET', path: '/network', handle: () => servers.status() },
    {
      method: 'POST',
      path: '/server/switch',
      handle: (request) => {
        servers.switchServer(request.body['server'] === undefined ? undefined : stringIn(request, 'server'));
        return changed('server switched by hand');
      },
    },
    {
      method: 'POST',
      path: '/server/set',
      handle: (request) => {
        servers.setServers(stringsIn(request, 'servers'));
        return changed('servers set by hand');
      },
    },
    {
      method: 'POST',
      path: '/server/probe',
      handle: async () => {
        await servers.probeOrder();
        return changed('servers ordered by hand');
      },
    },
    {
      method: 'POST',
      path: '/proxy/switch',
      handle: () => {
        servers.switchProxy();
        return changed('proxy switched by hand');
      },
    },
    {
      method: 'POST',
      path: '/proxy/set',
      handle: (request) => {
        servers.setProxies(groupsIn(request));
        return changed('proxies set by hand');
      },
    },
  ];
}

/** Groups of proxies in the body; none means direct. Throws USAGE. */
function groupsIn({ body }: ControlRequest): string[][] {
  const groups: unknown = body['groups'];
  const isGroup = (group: unknown) => Array.isArray(group) && group.every((one) => typeof one === 'string');
  if (Array.isArray(groups) && groups.every(isGroup)) return groups as string[][];
  throw new ThimbleError('USAGE', 'Cannot use the request: "groups" has to be a list of lists of proxies');
}
