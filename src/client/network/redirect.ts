/** Where a server sends us on to (RFC 9110, Location). */

import type { SocketTarget } from '../../core/ports.ts';
import { parseHttpUrl } from './url.ts';

/** More than this in a row go round in circles. */
export const MAX_REDIRECTS = 4;

export const REDIRECT_STATUSES: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** What to ask for, and whom. */
export interface Resource {
  readonly target: SocketTarget;
  readonly authority: string;
  /** Starts with `/`; a query may follow. */
  readonly path: string;
  /** The whole address. */
  readonly text: string;
}

/** `undefined` for what is no address that can be asked for. Throws USAGE for a host that is none. */
export function resolveRedirect(location: string | undefined, from: Resource): Resource | undefined {
  const [, origin, rest = ''] = /^(https?:\/\/[^/?#]+)?([!-"$-~]*)(?:#[!-~]*)?$/.exec(location ?? '') ?? [];
  const path = rest.startsWith('/') ? rest : origin === undefined ? undefined : `/${rest}`;
  if (path === undefined) return undefined;
  const scheme = from.target.tls ? 'https' : 'http';
  if (origin === undefined) return { ...from, path, text: `${scheme}://${from.authority}${path}` };
  const url = parseHttpUrl(origin);
  return { target: url.target, authority: url.authority, path, text: `${url.text}${path}` };
}
