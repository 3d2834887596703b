/**
 * What a machine boots, and how: from the image, from the machine (SMBIOS OEM strings), and from the kernel command line,
 * each overriding the one before. All of it is data; nothing is ever executed.
 */

import { type ContentHash, parseContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import { type Fqrn, parseFqrn } from '../core/fqrn.ts';

/** `/etc/thimble.json` of a boot image. */
export interface ImageSettings {
  readonly fqrn: string;
  /** Addresses; `@fqrn@` stands for the name of the repository. */
  readonly servers: readonly string[];
  readonly proxies: readonly string[];
  readonly tag?: string | undefined;
  readonly rootHash?: string | undefined;
  readonly profile?: string | undefined;
  /** That of the repository when the image was made; nobody can send the machine back behind it. */
  readonly minimumRevision?: number | undefined;
}

export interface GuestSettings {
  readonly fqrn: Fqrn;
  readonly servers: readonly string[];
  readonly proxies: readonly string[];
  readonly tag: string | undefined;
  readonly rootHash: ContentHash | undefined;
  /** What is streamed ahead while the machine boots; a name that the repository does not have does no harm. */
  readonly profile: string | undefined;
  /** Older states of the repository are refused; a root hash is its own proof. */
  readonly minimumRevision: number;
  /** A block device that the user named to be formatted as scratch disk. */
  readonly formatDevice: string | undefined;
  /** Use no scratch disk even if there is one. */
  readonly withoutDisk: boolean;
  /** Open a shell when the boot fails. */
  readonly rescue: boolean;
}

const PREFIX = 'thimble.';
/** Settings that everybody may make; an unknown one is a misspelt one. */
const KNOWN = new Set([
  'repo',
  'server',
  'proxy',
  'tag',
  'root_hash',
  'profile',
  'minimum_revision',
  'format',
  'nodisk',
  'rescue',
]);

/** Settings of one source, by name without prefix. Throws USAGE for unknown ones. */
export function parseSettings(words: readonly string[], source: string): Map<string, string> {
  const settings = new Map<string, string>();
  for (const word of words) {
    if (!word.startsWith(PREFIX)) continue;
    const equals = word.indexOf('=');
    const name = word.slice(PREFIX.length, equals < 0 ? undefined : equals);
    if (!KNOWN.has(name)) {
      throw new ThimbleError(
        'USAGE',
        `Cannot use setting ${PREFIX}${name} of the ${source}: it is not known`,
        {
          hint: `the settings are ${[...KNOWN].map((known) => PREFIX + known).join(', ')}`,
        },
      );
    }
    settings.set(name, equals < 0 ? '' : word.slice(equals + 1));
  }
  return settings;
}

/** Throws FORMAT for anything but JSON with these fields. */
export function parseImageSettings(text: string): ImageSettings {
  const damaged = (cause?: unknown) =>
    new ThimbleError('FORMAT', 'Cannot read the settings of the image', { hint: 'build it anew', cause });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(error);
  }
  const { fqrn, servers, proxies, tag, rootHash, profile, minimumRevision } = (value ?? {}) as Readonly<
    Record<string, unknown>
  >;
  const isOptionalText = (field: unknown): field is string | undefined =>
    field === undefined || typeof field === 'string';
  if (typeof fqrn !== 'string' || !isTexts(servers) || !isTexts(proxies)) throw damaged();
  if (!isOptionalText(tag) || !isOptionalText(rootHash) || !isOptionalText(profile)) throw damaged();
  if (minimumRevision !== undefined && !isRevision(minimumRevision)) throw damaged();
  return { fqrn, servers, proxies, tag, rootHash, profile, minimumRevision };
}

function isRevision(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((part) => typeof part === 'string');
}

/** Words of a kernel command line; double quotes keep spaces together, as the kernel has it. */
export function splitCommandLine(line: string): string[] {
  const words: string[] = [];
  for (const match of line.matchAll(/(?:"[^"]*"|[^\s"])+/g)) words.push(match[0].replaceAll('"', ''));
  return words;
}

/** Throws USAGE. */
export function mergeSettings(
  image: ImageSettings,
  machine: readonly string[],
  commandLine: string,
): GuestSettings {
  const ofMachine = parseSettings(machine, 'machine (SMBIOS)');
  const ofCommandLine = parseSettings(splitCommandLine(commandLine), 'kernel command line');
  // Both name the snapshot: the one replaces the other.
  if (ofCommandLine.has('tag')) ofMachine.delete('root_hash');
  const given = new Map([...ofMachine, ...ofCommandLine]);
  const fqrn = parseFqrn(given.get('repo') ?? image.fqrn);
  const list = (name: string, fallback: readonly string[]) => {
    const text = given.get(name);
    return text === undefined ? fallback : text.split(/[,;]/).filter((part) => part !== '');
  };
  const rootHash = given.get('root_hash') ?? (given.has('tag') ? undefined : image.rootHash);
  return {
    fqrn,
    servers: list('server', image.servers).map((server) => server.replaceAll('@fqrn@', fqrn)),
    proxies: list('proxy', image.proxies),
    // A root hash says more than a tag.
    tag: rootHash === undefined ? (given.get('tag') ?? image.tag) : undefined,
    rootHash: rootHash === undefined ? undefined : parseRootHash(rootHash),
    // Without a name: none, whatever the image says.
    profile: (given.get('profile') ?? image.profile) || undefined,
    minimumRevision: minimumRevisionOf(given.get('minimum_revision'), fqrn === image.fqrn ? image : {}),
    formatDevice: given.get('format'),
    withoutDisk: given.has('nodisk'),
    rescue: given.has('rescue'),
  };
}

function minimumRevisionOf(
  given: string | undefined,
  { minimumRevision = 0 }: Pick<ImageSettings, 'minimumRevision'>,
): number {
  if (given === undefined) return minimumRevision;
  const revision = /^\d{1,15}$/.test(given) ? Number(given) : undefined;
  if (revision !== undefined) return revision;
  throw new ThimbleError(
    'USAGE',
    `Cannot use ${PREFIX}minimum_revision: ${JSON.stringify(given)} is not a revision`,
  );
}

function parseRootHash(text: string): ContentHash {
  try {
    return parseContentHash(text);
  } catch (error) {
    throw new ThimbleError(
      'USAGE',
      `Cannot use ${PREFIX}root_hash: ${JSON.stringify(text)} is not a root hash`,
      {
        cause: error,
      },
    );
  }
}

/**
 * The strings of an SMBIOS structure of type 11 (DMTF DSP0134, section 7.12): a formatted area whose second byte is its
 * length, then zero-terminated strings, then one more zero.
 */
export function parseOemStrings(structure: string): string[] {
  if (structure.length < 5 || structure.charCodeAt(0) !== 11) return [];
  const strings = structure.slice(structure.charCodeAt(1)).split('\0');
  return strings.filter((text) => text !== '');
}
