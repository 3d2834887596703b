/** What DHCP answered, and how it is handed over to the operating system. */

export interface Lease {
  readonly interface: string;
  readonly address: string;
  readonly routers: readonly string[];
  readonly nameServers: readonly string[];
  readonly domain: string | undefined;
}

/** `name=value` lines, as the DHCP client's script writes them; only what looks like addresses and names is taken. */
export function parseLease(text: string): Lease | undefined {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const equals = line.indexOf('=');
    if (equals > 0) values.set(line.slice(0, equals), line.slice(equals + 1).trim());
  }
  const addresses = (name: string) =>
    (values.get(name) ?? '').split(/\s+/).filter((word) => /^[0-9A-Fa-f.:]+$/.test(word));
  const [address] = addresses('ip');
  const device = values.get('interface') ?? '';
  if (address === undefined || !/^[A-Za-z0-9._-]{1,15}$/.test(device)) return undefined;
  const domain = values.get('domain')?.split(/\s+/)[0];
  return {
    interface: device,
    address,
    routers: addresses('router'),
    nameServers: addresses('dns'),
    domain: domain !== undefined && /^[A-Za-z0-9.-]{1,253}$/.test(domain) ? domain : undefined,
  };
}

export function formatResolvConf({ nameServers, domain }: Lease): string {
  const lines = nameServers.map((server) => `nameserver ${server}\n`);
  return (domain === undefined ? '' : `search ${domain}\n`) + lines.join('');
}

/**
 * For systemd-networkd: the interface that the root file system comes in by is configured already, and must stay so until
 * the machine is off.
 */
export function formatNetworkUnit(macAddress: string): string {
  return [
    '# Written at boot: the root file system arrives by this interface.',
    '[Match]',
    `MACAddress=${macAddress}`,
    '',
    '[Network]',
    'DHCP=yes',
    'KeepConfiguration=yes',
    'IgnoreCarrierLoss=yes',
    '',
  ].join('\n');
}
