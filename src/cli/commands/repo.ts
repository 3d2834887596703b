import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseSize } from '../../config/parse-size.ts';
import { ThimbleError } from '../../core/errors.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import type { Whitelist } from '../../core/whitelist.ts';
import { createRepository } from '../../publish/create-repository.ts';
import { keyPaths } from '../../publish/key-paths.ts';
import { withKeyLock, withPublishLock } from '../../publish/key-place.ts';
import { openMasterKey, readKeyFile } from '../../publish/keys.ts';
import { KeyOpener } from '../../publish/private-keys.ts';
import { defaultSettings, type RepositorySettings } from '../../publish/repository-settings.ts';
import { resignManifest } from '../../publish/resign-manifest.ts';
import { installWhitelist, makeWhitelist, resignWhitelist } from '../../publish/whitelist-writer.ts';
import { storageLocation } from '../../storage/storage-location.ts';
import { askPassphrase, givenPassphrase, newPassphrase } from '../passphrase.ts';
import { keyPlace, publisherPorts } from '../publisher-ports.ts';
import { collect } from '../reader-options.ts';
import { parseCount, registry } from '../settings.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';
import { warnOfLongLife } from '../whitelist-warning.ts';

interface CreateOptions extends GlobalOptions {
  readonly storage: string;
  readonly hash: RepositorySettings['hashAlgorithm'];
  readonly compression: RepositorySettings['compression'];
  readonly ttl: string;
  readonly whitelistDays: string;
  readonly chunks?: string;
  readonly catalogEntries?: string;
  readonly automaticTags?: string;
  readonly virtualDirectory?: boolean;
  /** False with `--no-ed25519`. */
  readonly ed25519: boolean;
  readonly passphrase?: boolean;
}

interface ResignOptions extends GlobalOptions {
  readonly days?: string;
  readonly masterKey?: string;
  readonly manifest?: boolean;
  readonly certificate?: readonly string[];
  readonly output?: string;
  readonly install?: string;
}

const MAX_DAYS = 36_500;

export function configure(repo: Command): void {
  repo.helpCommand(false).addHelpText('after', '\nExample:\n  thimble repo list');
  repo
    .command('create <fqrn>')
    .summary('make keys, whitelist, certificate and an empty first revision')
    .requiredOption(
      '--storage <place>',
      'folder that will be served, or s3://BUCKET/PREFIX?endpoint=URL&region=NAME',
    )
    .option('--hash <algorithm>', 'shake128, sha1 or rmd160', 'shake128')
    .option('--compression <algorithm>', 'zlib or none', 'zlib')
    .option('--ttl <seconds>', 'how often clients look for a new revision', '240')
    .option('--whitelist-days <days>', 'how long signatures on the whitelist hold', '30')
    .option('--chunks <min,average,max>', 'sizes of the pieces of large files (default: 4M,8M,16M)')
    .option('--catalog-entries <max>', 'split catalogs with more entries (default: 100000)')
    .option('--automatic-tags <days>', 'name each revision by its time, and keep these names for so long')
    .option('--virtual-directory', 'show all tagged snapshots in /.cvmfs/snapshots')
    .option('--no-ed25519', 'make no Ed25519 key, which signs each revision besides the RSA key')
    .option('--passphrase', 'protect the private keys with a passphrase')
    .addHelpText(
      'after',
      [
        '\nFor S3, credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from AWS_PROFILE.',
        'Further parameters of the address: style=path|virtual, acl=public-read.\n\nExamples:',
        '  thimble repo create os.example.org --storage /srv/cvmfs/os.example.org',
        '  thimble repo create os.example.org --storage "s3://my-bucket/cvmfs/os.example.org?region=eu-central-1"',
      ].join('\n'),
    )
    .action(async (name: string, _: unknown, command: Command) => create(name, command.optsWithGlobals()));
  repo
    .command('resign <fqrn>')
    .summary('sign the whitelist again')
    .option('--days <days>', 'how long it holds (default: what "repo create" was told)')
    .option('--master-key <file>', 'the master key, if it is not kept with the others')
    .option('--manifest', 'sign what is published again too, with the repository key and the Ed25519 key')
    .option('--certificate <file>', 'list this one; may be given again; with --output', collect)
    .option('--output <file>', 'write the whitelist here, on a machine that knows nothing of the repository')
    .option('--install <file>', 'publish a whitelist that was signed elsewhere')
    .addHelpText(
      'after',
      [
        '\nExamples:',
        '  thimble repo resign os.example.org',
        '  thimble repo resign os.example.org --days 14 --master-key /media/stick/os.example.org.masterkey',
        '\nWith a master key that never leaves its machine, there, then here:',
        '  thimble repo resign os.example.org --master-key KEY --certificate os.example.org.crt --output whitelist',
        '  thimble repo resign os.example.org --install whitelist',
      ].join('\n'),
    )
    .action(async (name: string, _: unknown, command: Command) => resign(name, command.optsWithGlobals()));
  repo
    .command('list')
    .summary('list the repositories that are published from here')
    .addHelpText('after', '\nExample:\n  thimble repo list --json')
    .action((_: unknown, command: Command) => list(command.optsWithGlobals()));
}

async function create(name: string, options: CreateOptions): Promise<void> {
  const fqrn = parseFqrn(name);
  const settings = {
    ...defaultSettings(fqrn, storageOf(options.storage)),
    hashAlgorithm: options.hash,
    compression: options.compression,
    ttlSeconds: Number(options.ttl),
    whitelistDays: Number(options.whitelistDays),
    virtualDirectory: options.virtualDirectory === true,
    ...(options.automaticTags === undefined
      ? {}
      : { automaticTags: { keepDays: Number(options.automaticTags) } }),
  };
  if (options.chunks !== undefined) {
    const [minBytes = 0, averageBytes = 0, maxBytes = 0] = options.chunks.split(',').map(parseSize);
    settings.chunkSizes = { minBytes, averageBytes, maxBytes };
  }
  if (options.catalogEntries !== undefined) {
    const maxEntries = Number(options.catalogEntries);
    settings.catalogs = { maxEntries, minEntries: Math.max(1, Math.floor(maxEntries / 100)) };
  }
  const known = registry(options);
  const passphrase = givenPassphrase(options) ?? (options.passphrase ? newPassphrase(undefined) : undefined);
  const keyOptions = { passphrase, ed25519: options.ed25519 };
  const { revision, rootCatalog } = await createRepository(known, settings, publisherPorts, keyOptions);
  const { publicKey, ed25519PublicKey } = keyPaths(known.folderOf(fqrn), fqrn);
  const keys = { publicKey, ...(options.ed25519 ? { ed25519PublicKey } : {}) };
  printResult(
    options,
    { fqrn, storage: settings.storage, ...keys, revision, rootCatalog },
    [
      `Created ${fqrn} in ${settings.storage}`,
      `Key for clients: ${publicKey}`,
      ...(options.ed25519 ? [`Second key for clients of Thimble: ${ed25519PublicKey}`] : []),
      `Next: thimble publish ${fqrn} FOLDER --tag v1`,
    ].join('\n'),
  );
}

/** Folders absolute; addresses as they are. Throws USAGE. */
function storageOf(text: string): string {
  return storageLocation(text).kind === 'folder' ? resolve(text) : text;
}

async function resign(name: string, options: ResignOptions): Promise<void> {
  const { output, install, certificate = [] } = options;
  if ((output === undefined) !== (certificate.length === 0)) {
    throw new ThimbleError('USAGE', 'Cannot use one of --output and --certificate without the other');
  }
  if (install !== undefined && (output !== undefined || options.masterKey !== undefined)) {
    throw new ThimbleError('USAGE', 'Cannot use --install with --output or --master-key: nothing is signed');
  }
  if (output !== undefined) return signElsewhere(name, output, certificate, options);
  const place = keyPlace(name, options);
  const whitelist = await withKeyLock(place, () =>
    install === undefined
      ? resignWhitelist(place, { days: daysOf(options), masterKeyFile: options.masterKey }, publisherPorts)
      : installWhitelist(place, readKeyFile(install, 'whitelist'), publisherPorts),
  );
  if (options.manifest) await withPublishLock(place, () => resignManifest(place, publisherPorts));
  printWhitelist(options, whitelist);
}

/** Needs nothing but the master key and the certificates. */
async function signElsewhere(
  name: string,
  output: string,
  certificateFiles: readonly string[],
  options: ResignOptions,
): Promise<void> {
  const fqrn = parseFqrn(name);
  if (options.masterKey === undefined || options.manifest) {
    throw new ThimbleError(
      'USAGE',
      'Cannot write a whitelist to a file: --output goes with --master-key alone',
    );
  }
  const masterKey = openMasterKey(new KeyOpener(askPassphrase(options)), options.masterKey);
  const { hashAlgorithm, whitelistDays } = defaultSettings(fqrn, '');
  const { whitelist, bytes } = await makeWhitelist(
    { fqrn, hashAlgorithm, days: daysOf(options) ?? whitelistDays },
    { masterKey, certificates: certificateFiles.map((file) => readKeyFile(file, 'certificate')) },
    publisherPorts,
  );
  try {
    writeFileSync(output, bytes);
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot write ${output}`, { cause: error });
  }
  printWhitelist(options, whitelist);
}

function daysOf({ days }: ResignOptions): number | undefined {
  return days === undefined ? undefined : parseCount(days, 'a number of days', 1, MAX_DAYS);
}

function printWhitelist(options: GlobalOptions, whitelist: Whitelist): void {
  const { fqrn, expiresSeconds } = whitelist;
  const expires = new Date(expiresSeconds * 1000).toISOString().slice(0, 10);
  printResult(options, { fqrn, expires }, `The whitelist of ${fqrn} is valid until ${expires}`);
  warnOfLongLife(whitelist, options);
}

function list(options: GlobalOptions): void {
  const known = registry(options);
  const repositories = known.list().map((fqrn) => ({ fqrn, storage: known.load(fqrn).storage }));
  const lines = repositories.map(({ fqrn, storage }) => `${fqrn}  ${storage}`);
  printResult(options, repositories, lines.join('\n') || 'There are no repositories here.');
}
