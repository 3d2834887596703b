/** Addresses of servers and proxies, parsed without the platform's `URL`. */

import { ThimbleError } from '../../core/errors.ts';
import type { SocketTarget } from '../../core/ports.ts';

export interface HttpUrl {
  readonly target: SocketTarget;
  /** As it goes into the `Host` header. */
  readonly authority: string;
  /** Starts with `/`, does not end with one. */
  readonly path: string;
  readonly text: string;
}

/** `http://` and `https://` only, no user names, no query. Throws USAGE. */
export function parseHttpUrl(text: string): HttpUrl {
  const parts = /^(https?):\/\/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?((?:\/[!-~]*)?)$/.exec(
    text,
  );
  const [, scheme, host, portText, path] = parts ?? [];
  const tls = scheme === 'https';
  const port = portText === undefined ? (tls ? 443 : 80) : Number(portText);
  if (host === undefined || path === undefined || port > 65535 || path.includes('?') || path.includes('#')) {
    throw new ThimbleError('USAGE', `Cannot use ${JSON.stringify(text)} as a server address`, {
      hint: 'an address looks like http://host:port/cvmfs/os.example.org',
    });
  }
  const bare = path.replace(/\/+$/, '');
  const authority = portText === undefined ? host : `${host}:${port}`;
  return {
    target: { host: host.replace(/^\[|\]$/g, ''), port, tls },
    authority,
    path: bare,
    text: `${scheme}://${authority}${bare}`,
  };
}
