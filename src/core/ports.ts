/**
 * The outside world as the portable zone sees it. Each engine (Node now, a small QuickJS host later) implements these
 * few interfaces; nothing below `core` calls the platform directly.
 */

import type { Bytes } from './bytes/byte-string.ts';

export type DigestAlgorithm = 'md5' | 'sha1' | 'rmd160' | 'shake128';

export interface Hasher {
  update(chunk: Bytes): void;
  digest(): Bytes;
}

export interface Hashing {
  /** One-shot digest: 16 bytes for md5, 20 for the others (shake128 is squeezed to 160 bits). */
  digest(algorithm: DigestAlgorithm, data: Bytes): Bytes;
  createHasher(algorithm: DigestAlgorithm): Hasher;
}

export interface Inflating {
  /**
   * Inflates one whole zlib stream (RFC 1950). Throws FORMAT if it is not one, LIMIT if it yields more than
   * `limitBytes`.
   */
  inflate(data: Bytes, limitBytes: number): Bytes;
  /**
   * The same into memory of the caller; answers how many bytes came out. Throws FORMAT, and LIMIT if `into` is too small. Of a
   * stream that fills it, the last byte may be all that is too much: a caller who knows the size gives one more.
   */
  inflateInto(data: Bytes, into: Bytes): number;
  /** Inflates a stream piece by piece. `push` and `end` return what came out; both throw like `inflate`. */
  createInflater(): Inflater;
}

export interface Inflater {
  push(chunk: Bytes): Promise<Bytes>;
  end(): Promise<Bytes>;
  close(): void;
}

/** A public key of the platform; opaque here, but for what it is good for. */
export interface PublicKey {
  readonly kind: 'rsa-public-key' | 'ed25519-public-key';
}

export interface Signatures {
  /** Reads a PEM `PUBLIC KEY` block, of RSA or Ed25519. Throws FORMAT. */
  importPublicKey(pem: string): PublicKey;
  /** Reads an X.509 certificate in DER; its key is of RSA. Throws FORMAT. */
  importCertificateKey(der: Bytes): PublicKey;
  /** RSASSA-PKCS1-v1_5 with SHA-1. */
  verifyRsaSha1(key: PublicKey, data: Bytes, signature: Bytes): boolean;
  /** The public operation with type 1 padding removed; `undefined` if the padding is wrong. */
  recoverRsa(key: PublicKey, signature: Bytes): Bytes | undefined;
  /** Ed25519 as in RFC 8032, over the data itself. */
  verifyEd25519(key: PublicKey, data: Bytes, signature: Bytes): boolean;
}

export interface Clock {
  /** Milliseconds that never go backwards. */
  monotonicMs(): number;
  /** Seconds since 1970, UTC. */
  unixSeconds(): number;
  /** Calls back once after `ms`; the returned function cancels. */
  after(ms: number, callback: () => void): () => void;
}

export interface Random {
  /** A number in [0, 1), for jitter only. */
  fraction(): number;
}

/** A connected byte stream. */
export interface Connection {
  /** Queues bytes for sending. */
  write(bytes: Bytes): void;
  /** The next bytes, or `undefined` at the end of the stream. Throws NETWORK when the connection breaks. */
  read(): Promise<Bytes | undefined>;
  /** Closes at once, also a pending `read` (which then throws NETWORK). */
  close(): void;
  /** False where bytes or the end have arrived that nobody has read yet; missing where that is not known. */
  isQuiet?(): boolean;
}

export interface Sockets {
  /** Throws NETWORK when the name cannot be resolved, the host refuses, or `timeoutMs` has passed. */
  connect(target: SocketTarget, timeoutMs: number): Promise<Connection>;
}

export interface SocketTarget {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** A proxy that is asked to connect to the host (RFC 9110, CONNECT). */
  readonly via?: SocketProxy | undefined;
}

export interface SocketProxy {
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  /** Value of the `Proxy-Authorization` header. */
  readonly authorization: string | undefined;
}

export interface Resolver {
  /** Every address of a host, of IPv4 and IPv6. Throws NETWORK when it has none, or when nobody says so in time. */
  resolve(host: string): Promise<ResolvedName>;
}

export interface ResolvedName {
  readonly addresses: readonly string[];
  /** How long this may be believed. */
  readonly ttlSeconds: number;
}

export interface LogFields {
  readonly [key: string]: string | number | boolean | undefined;
}

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
