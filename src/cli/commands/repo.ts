import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseFqrn } from '../../core/fqrn.ts';
import { createRepository, writeWhitelist } from '../../publish/create-repository.ts';
import { keyPaths, loadKeys } from '../../publish/keys.ts';
import { defaultSettings, type RepositorySettings } from '../../publish/repository-settings.ts';
import { publisherPorts } from '../publisher-ports.ts';
import { parseSize, registry } from '../settings.ts';
import { type GlobalOptions, printResult } from '../terminal.ts';

interface CreateOptions extends GlobalOptions {
  readonly storage: string;
  readonly hash: RepositorySettings['hashAlgorithm'];
  readonly compression: RepositorySettings['compression'];
  readonly ttl: string;
  readonly whitelistDays: string;
  readonly chunks?: string;
  readonly catalogEntries?: string;
}

export function configure(repo: Command): void {
  repo.helpCommand(false).addHelpText('after', '\nExample:\n  thimble repo list');
  repo
    .command('create <fqrn>')
    .summary('make keys, whitelist, certificate and an empty first revision')
    .requiredOption('--storage <folder>', 'folder that will be served')
    .option('--hash <algorithm>', 'shake128, sha1 or rmd160', 'shake128')
    .option('--compression <algorithm>', 'zlib or none', 'zlib')
    .option('--ttl <seconds>', 'how often clients look for a new revision', '240')
    .option('--whitelist-days <days>', 'how long signatures on the whitelist hold', '30')
    .option('--chunks <min,average,max>', 'sizes of the pieces of large files (default: 4M,8M,16M)')
    .option('--catalog-entries <max>', 'split catalogs with more entries (default: 100000)')
    .addHelpText(
      'after',
      '\nExample:\n  thimble repo create os.example.org --storage /srv/cvmfs/os.example.org',
    )
    .action(async (name: string, _: unknown, command: Command) => create(name, command.optsWithGlobals()));
  repo
    .command('resign <fqrn>')
    .summary('sign the whitelist again')
    .addHelpText('after', '\nExample:\n  thimble repo resign os.example.org')
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
    ...defaultSettings(fqrn, resolve(options.storage)),
    hashAlgorithm: options.hash,
    compression: options.compression,
    ttlSeconds: Number(options.ttl),
    whitelistDays: Number(options.whitelistDays),
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
  const { revision, rootCatalog } = await createRepository(known, settings, publisherPorts);
  const { publicKey } = keyPaths(known.folderOf(fqrn), fqrn);
  printResult(
    options,
    { fqrn, storage: settings.storage, publicKey, revision, rootCatalog },
    [
      `Created ${fqrn} in ${settings.storage}`,
      `Key for clients: ${publicKey}`,
      `Next: thimble publish ${fqrn} FOLDER --tag v1`,
    ].join('\n'),
  );
}

async function resign(name: string, options: GlobalOptions): Promise<void> {
  const fqrn = parseFqrn(name);
  const known = registry(options);
  const { expiresSeconds } = await writeWhitelist(
    known.load(fqrn),
    loadKeys(known.folderOf(fqrn), fqrn),
    publisherPorts,
  );
  const expires = new Date(expiresSeconds * 1000).toISOString().slice(0, 10);
  printResult(options, { fqrn, expires }, `The whitelist of ${fqrn} is valid until ${expires}`);
}

function list(options: GlobalOptions): void {
  const known = registry(options);
  const repositories = known.list().map((fqrn) => ({ fqrn, storage: known.load(fqrn).storage }));
  const lines = repositories.map(({ fqrn, storage }) => `${fqrn}  ${storage}`);
  printResult(options, repositories, lines.join('\n') || 'There are no repositories here.');
}
