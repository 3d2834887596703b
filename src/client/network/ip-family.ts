/** Addresses of IPv4 and IPv6: which of them are used. */

import type { NetworkSettings } from './network-settings.ts';

type IpFamily = NetworkSettings['ipFamily'];

/** Of the addresses of a proxy: those of the family that is preferred, all of the other one where it has none. */
export function preferredAddresses(addresses: readonly string[], family: IpFamily): string[] {
  if (family === 'any') return [...addresses];
  const wanted = addresses.filter((address) => isIpv6(address) === (family === 'prefer-6'));
  return wanted.length > 0 || family === 'only-4' ? wanted : [...addresses];
}

/** Of the addresses of a server, in the order in which they are tried. */
export function orderedByFamily(family: IpFamily): (addresses: readonly string[]) => string[] {
  return (addresses) => {
    const six = addresses.filter(isIpv6);
    const four = addresses.filter((address) => !isIpv6(address));
    if (family === 'only-4') return four;
    return family === 'prefer-6' ? [...six, ...four] : [...four, ...six];
  };
}

function isIpv6(address: string): boolean {
  return address.includes(':');
}
