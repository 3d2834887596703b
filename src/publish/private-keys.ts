/**
 * Private key files: PEM, readable by their owner alone, protected by a passphrase or not.
 *
 * Protected ones are PKCS#8 `EncryptedPrivateKeyInfo` (RFC 5958) under PBES2 (RFC 8018): the passphrase goes through scrypt
 * (RFC 7914), the key is encrypted with AES-256 in CBC mode. OpenSSL reads them, and what OpenSSL protects is read here.
 */

import {
  createCipheriv,
  createPrivateKey,
  type KeyObject,
  randomBytes,
  type ScryptOptions,
  scryptSync,
} from 'node:crypto';
import {
  chmodSync,
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { ThimbleError } from '../core/errors.ts';

/** Asks for the passphrase of a file. Throws USAGE where there is none to be had. */
export type AskPassphrase = (path: string) => Uint8Array;

export type PrivateKeyType = 'rsa' | 'ed25519';

/** One of the OWASP recommendations of equal strength; more memory for each pass is more than OpenSSL allows itself. */
const SCRYPT = { N: 2 ** 14, r: 8, p: 5, maxmem: 64 * 1024 * 1024 } as const satisfies ScryptOptions;
const KEY_BYTES = 32;
const BLOCK_BYTES = 16;
/** Permissions of group and others. */
export const OTHERS_MAY = 0o077;

/** Opens private key files; a passphrase that opened one is tried on the next before anybody is asked again. */
export class KeyOpener {
  readonly #ask: AskPassphrase | undefined;
  readonly #known: Uint8Array[] = [];

  constructor(ask: AskPassphrase | undefined) {
    this.#ask = ask;
  }

  /** Throws NOT_FOUND, FORMAT, and USAGE for open permissions or a passphrase that is missing or wrong. */
  open(path: string, type: PrivateKeyType): KeyObject {
    return this.#open(path, type).key;
  }

  /** The passphrase of a file, found out by opening it; `undefined` if it has none. Throws as `open` does. */
  passphraseOf(path: string, type: PrivateKeyType): Uint8Array | undefined {
    return this.#open(path, type).passphrase;
  }

  #open(path: string, type: PrivateKeyType): { key: KeyObject; passphrase: Uint8Array | undefined } {
    const pem = readPrivateKeyFile(path);
    const opened = isProtected(pem)
      ? this.#unlock(path, pem)
      : { key: decodePrivateKey(pem), passphrase: undefined };
    if (opened.key === undefined) {
      throw new ThimbleError('FORMAT', `Cannot read key file ${path}: it is not a private key in PEM`);
    }
    if (opened.key.asymmetricKeyType !== type) {
      throw new ThimbleError(
        'FORMAT',
        `Cannot use key file ${path}: ${type} expected, it is ${opened.key.asymmetricKeyType}`,
      );
    }
    return { key: opened.key, passphrase: opened.passphrase };
  }

  #unlock(path: string, pem: Buffer): { key: KeyObject; passphrase: Uint8Array } {
    for (const passphrase of this.#known) {
      const key = decodePrivateKey(pem, passphrase);
      if (key !== undefined) return { key, passphrase };
    }
    if (this.#ask === undefined) {
      throw new ThimbleError('USAGE', `Cannot open key file ${path}: it is protected by a passphrase`);
    }
    const passphrase = this.#ask(path);
    const key = decodePrivateKey(pem, passphrase);
    if (key === undefined) {
      throw new ThimbleError('USAGE', `Cannot open key file ${path}: the passphrase is wrong`, {
        hint: 'or the file is damaged',
      });
    }
    this.#known.push(passphrase);
    return { key, passphrase };
  }
}

/** Throws NOT_FOUND; USAGE if others than its owner may read the file. What is no file, such as a pipe, has no such risk. */
export function readPrivateKeyFile(path: string): Buffer {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read key file ${path}`, { cause: error });
  }
  try {
    const stats = fstatSync(fd);
    if (stats.isFile() && (stats.mode & OTHERS_MAY) !== 0) {
      const mode = (stats.mode & 0o777).toString(8).padStart(4, '0');
      throw new ThimbleError('USAGE', `Cannot use key file ${path}: others may use it too (mode ${mode})`, {
        hint: `chmod 600 ${path}; if others have read it, make a new key`,
      });
    }
    return readFileSync(fd);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('NOT_FOUND', `Cannot read key file ${path}`, { cause: error });
  } finally {
    closeSync(fd);
  }
}

export function isProtected(pem: Buffer): boolean {
  return /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m.test(pem.toString('latin1'));
}

/** PEM of a private key: protected PKCS#8, or plain, for RSA then PKCS#1, which the reference tools write and read. */
export function encodePrivateKey(key: KeyObject, passphrase: Uint8Array | undefined): string {
  if (passphrase === undefined) {
    const type = key.asymmetricKeyType === 'rsa' ? 'pkcs1' : 'pkcs8';
    return key.export({ type, format: 'pem' } as never) as string;
  }
  const pem = protect(key.export({ type: 'pkcs8', format: 'der' }), passphrase);
  // What cannot be opened again must not replace what can.
  if (decodePrivateKey(Buffer.from(pem), passphrase)?.equals(key)) return pem;
  throw new ThimbleError('INTERNAL', 'Cannot protect a private key: it does not open again');
}

/** `undefined` if it is none, or another passphrase opens it. What OpenSSL says of it is kept from everybody. */
function decodePrivateKey(pem: Buffer, passphrase?: Uint8Array): KeyObject | undefined {
  try {
    return createPrivateKey(
      passphrase === undefined ? pem : { key: pem, passphrase: Buffer.from(passphrase) },
    );
  } catch {
    return undefined;
  }
}

/** `replace` is for files that may be there; otherwise throws CONFLICT for one that is. Throws STORAGE. */
export function writeKeyFile(
  path: string,
  content: string | Uint8Array,
  mode: 0o600 | 0o644,
  { replace = false }: { readonly replace?: boolean } = {},
): void {
  const folder = dirname(path);
  const temporary = `${path}.${process.pid}.new`;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
    try {
      writeFileSync(temporary, content, { mode, flag: 'wx', flush: true });
      if (replace) renameSync(temporary, path);
      else linkNew(temporary, path);
    } finally {
      rmSync(temporary, { force: true });
    }
    syncFolder(folder);
  } catch (error) {
    if (error instanceof ThimbleError) throw error;
    throw new ThimbleError('STORAGE', `Cannot write key file ${path}`, { cause: error });
  }
}

function linkNew(file: string, path: string): void {
  try {
    linkSync(file, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new ThimbleError('CONFLICT', `Cannot write key file ${path}: it exists`);
  }
}

/** So that a power cut does not undo renames that later steps rely on. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

// ---- DER (ITU-T X.690), as much as an encrypted key takes ----

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const OCTETS = 0x04;
/** Object identifiers, with their tag and length. */
const PBES2 = Buffer.from('06092a864886f70d01050d', 'hex');
const SCRYPT_KDF = Buffer.from('06092b06010401da47040b', 'hex');
const AES_256_CBC = Buffer.from('060960864801650304012a', 'hex');

function protect(pkcs8: Buffer, passphrase: Uint8Array): string {
  const salt = randomBytes(BLOCK_BYTES);
  const iv = randomBytes(BLOCK_BYTES);
  const cipher = createCipheriv('aes-256-cbc', scryptSync(passphrase, salt, KEY_BYTES, SCRYPT), iv);
  const encrypted = Buffer.concat([cipher.update(pkcs8), cipher.final()]);
  const derivation = der(
    SEQUENCE,
    SCRYPT_KDF,
    der(SEQUENCE, der(OCTETS, salt), integer(SCRYPT.N), integer(SCRYPT.r), integer(SCRYPT.p)),
  );
  const encryption = der(SEQUENCE, AES_256_CBC, der(OCTETS, iv));
  const scheme = der(SEQUENCE, PBES2, der(SEQUENCE, derivation, encryption));
  const base64 = der(SEQUENCE, scheme, der(OCTETS, encrypted)).toString('base64');
  const lines = base64.match(/.{1,64}/g)!.join('\n');
  return `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${lines}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
}

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const header =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(header), content]);
}

/** Up to 2^15 - 1; a leading zero keeps it positive. */
function integer(value: number): Buffer {
  const bytes = value < 0x80 ? [value] : [value >> 8, value & 0xff];
  return der(INTEGER, Buffer.from(bytes));
}
