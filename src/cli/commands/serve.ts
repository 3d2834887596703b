import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import { MANIFEST_PATH } from '../../core/manifest.ts';
import { GeoDatabase } from '../../server/geo-database.ts';
import { RepositoryServer, type ServedRepository } from '../../server/repository-server.ts';
import type { ServerMetadata } from '../../server/server-info.ts';
import { readingAddress, storageLocation } from '../../storage/storage-location.ts';
import { parseCount, registry } from '../settings.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult } from '../terminal.ts';

interface ServeOptions extends GlobalOptions {
  readonly host: string;
  readonly port: string;
  readonly accessLog?: string;
  readonly quiet?: boolean;
  readonly geoDatabase?: string;
  readonly metadata?: string;
}

export function configure(command: Command): void {
  command
    .argument(
      '[repositories...]',
      'names of repositories created here, or storage folders (default: all created here)',
    )
    .option('--host <address>', 'address to listen on', '0.0.0.0')
    .option('--port <number>', 'port to listen on; 0 takes a free one', '8000')
    .option('--access-log <file>', 'write the access log to a file instead of standard error')
    .option('--quiet', 'write no access log')
    .option('--geo-database <file>', "tell clients which server is nearest, by a file in MaxMind's format")
    .option('--metadata <file>', 'who runs this server: a JSON object that monitors get')
    .addHelpText(
      'after',
      '\nRepositories appear at http://HOST:PORT/cvmfs/NAME, figures for Prometheus at /metrics.\n\nExample:\n  thimble serve os.example.org --port 8000',
    )
    .action(async (sources: string[], _: unknown, self: Command) => serve(sources, self.optsWithGlobals()));
}

async function serve(sources: readonly string[], options: ServeOptions): Promise<void> {
  const known = registry(options);
  const repositories =
    sources.length > 0
      ? sources.map((source) => locate(source, options))
      : known.list().map((fqrn) => locate(fqrn, options));
  if (repositories.length === 0) {
    throw new ThimbleError('USAGE', 'Cannot serve: there are no repositories here', {
      hint: 'create one with "thimble repo create", or name a storage folder',
    });
  }
  const accessLog = options.quiet
    ? undefined
    : options.accessLog === undefined
      ? process.stderr
      : createWriteStream(options.accessLog, { flags: 'a' });
  const server = new RepositoryServer(repositories, {
    host: options.host,
    port: parseCount(options.port, 'a port', 0, 65_535),
    accessLog,
    geoDatabase: options.geoDatabase === undefined ? undefined : GeoDatabase.open(options.geoDatabase),
    metadata: options.metadata === undefined ? undefined : readMetadata(options.metadata),
  });
  const address = await server.listen();
  printResult(
    options,
    { address, repositories: repositories.map(({ fqrn }) => `${address}/cvmfs/${fqrn}`) },
    [...repositories.map(({ fqrn }) => `Serving ${address}/cvmfs/${fqrn}`), 'Press Ctrl-C to stop.'].join(
      '\n',
    ),
  );
  await new Promise<void>((stop) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop());
  });
  await server.close();
  const { requests, bytes } = server.totals();
  process.stderr.write(`Served ${formatCount(requests)} requests, ${formatBytes(bytes)} (${bytes} bytes).\n`);
}

/** Throws NOT_FOUND, FORMAT. */
function readMetadata(path: string): ServerMetadata {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ThimbleError('NOT_FOUND', `Cannot read metadata ${path}`, { cause: error });
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as ServerMetadata;
    throw new ThimbleError('FORMAT', 'it is no object');
  } catch (error) {
    throw new ThimbleError('FORMAT', `Cannot use metadata ${path}: it has to be a JSON object`, {
      hint: 'usual fields are administrator, email, organisation and custom',
      cause: error,
    });
  }
}

function locate(source: string, options: GlobalOptions): ServedRepository {
  const known = registry(options);
  const isFolder = source.includes('/') || existsSync(join(source, MANIFEST_PATH));
  const folder = isFolder ? resolve(source) : folderOf(source, known.load(parseFqrn(source)).storage);
  if (!existsSync(join(folder, MANIFEST_PATH))) {
    throw new ThimbleError('NOT_FOUND', `Cannot serve ${source}: there is no ${MANIFEST_PATH} in ${folder}`);
  }
  const fqrn = folder.replace(/\/+$/, '').split('/').at(-1) ?? '';
  return { fqrn: isFolder ? fqrn : source, folder };
}

/** Throws UNSUPPORTED for what is not in a folder. */
function folderOf(name: string, storage: string): string {
  const location = storageLocation(storage);
  if (location.kind === 'folder') return location.path;
  throw new ThimbleError('UNSUPPORTED', `Cannot serve ${name}: its storage is ${storage}`, {
    hint: `the object store serves it itself, at ${readingAddress(location)}`,
  });
}
