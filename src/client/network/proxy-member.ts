/** One proxy as requests go to it: a name and one of its addresses, or no proxy at all. */

import type { SocketTarget } from '../../core/ports.ts';
import { parseProxyUrl } from './url.ts';

/** In place of a proxy: ask the server itself. */
export const DIRECT = 'DIRECT';

export interface ProxyMember {
  /** For messages: without a password, and with the address that is used where the name has several. */
  readonly name: string;
  /** None for `DIRECT`. */
  readonly target: SocketTarget | undefined;
  /** Value of the `Proxy-Authorization` header. Not for messages. */
  readonly authorization: string | undefined;
}

export const DIRECT_MEMBER: ProxyMember = { name: DIRECT, target: undefined, authorization: undefined };

/** A proxy as it is written, with one of the addresses of its name. Throws USAGE. */
export function proxyMember(text: string, address?: string): ProxyMember {
  if (text === DIRECT) return DIRECT_MEMBER;
  const { text: name, target, authorization } = parseProxyUrl(text);
  if (address === undefined || address === target.host) return { name, target, authorization };
  return { name: `${name} (${address})`, target: { ...target, host: address }, authorization };
}

/** An IPv6 address has colons; an IPv4 address, and no name, ends with a number. */
export function isAddress(host: string): boolean {
  return host.includes(':') || /^[0-9.]+$/.test(host);
}
