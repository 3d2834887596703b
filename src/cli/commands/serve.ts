import { createWriteStream, existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ThimbleError } from '../../core/errors.ts';
import { parseFqrn } from '../../core/fqrn.ts';
import { MANIFEST_PATH } from '../../core/manifest.ts';
import { RepositoryServer, type ServedRepository } from '../../server/repository-server.ts';
import { parseCount, registry } from '../settings.ts';
import { formatBytes, formatCount, type GlobalOptions, printResult } from '../terminal.ts';

interface ServeOptions extends GlobalOptions {
  readonly host: string;
  readonly port: string;
  readonly accessLog?: string;
  readonly quiet?: boolean;
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

function locate(source: string, options: GlobalOptions): ServedRepository {
  const known = registry(options);
  const isFolder = source.includes('/') || existsSync(join(source, MANIFEST_PATH));
  const folder = isFolder ? resolve(source) : known.load(parseFqrn(source)).storage;
  if (!existsSync(join(folder, MANIFEST_PATH))) {
    throw new ThimbleError('NOT_FOUND', `Cannot serve ${source}: there is no ${MANIFEST_PATH} in ${folder}`);
  }
  const fqrn = folder.replace(/\/+$/, '').split('/').at(-1) ?? '';
  return { fqrn: isFolder ? fqrn : source, folder };
}
