/** Addresses of servers and proxies, parsed without the platform's `URL`. */

import { encodeBase64 } from '../../core/bytes/hex.ts';
import { encodeUtf8 } from '../../core/bytes/utf8.ts';
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

export interface ProxyUrl extends HttpUrl {
  /** Value of the `Proxy-Authorization` header (RFC 7617), where the address has a user name. Not for messages. */
  readonly authorization: string | undefined;
}

/**
 * A proxy: `http://` may be missing, and a user name and a password, percent-encoded, may stand in front of the host. They
 * are not in `text`. Throws USAGE, without the password.
 */
export function parseProxyUrl(text: string): ProxyUrl {
  const whole = text.includes('://') ? text : `http://${text}`;
  const [, scheme = '', credentials, rest = ''] = /^([a-z]+:\/\/)(?:([^/]*)@)?(.*)$/.exec(whole) ?? [];
  const url = parseHttpUrl(scheme + rest);
  return { ...url, authorization: credentials === undefined ? undefined : basicAuthorization(credentials) };
}

function basicAuthorization(credentials: string): string {
  try {
    const [user = '', ...password] = credentials.split(':');
    const plain = `${decodeURIComponent(user)}:${decodeURIComponent(password.join(':'))}`;
    return `Basic ${encodeBase64(encodeUtf8(plain))}`;
  } catch (error) {
    throw new ThimbleError('USAGE', 'Cannot use the user name or the password of a proxy', {
      hint: 'write % as %25, @ as %40 and / as %2F',
      cause: error,
    });
  }
}
