import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { parseRecording } from '../../client/profile/recording.ts';
import { ThimbleError } from '../../core/errors.ts';
import { callControl } from '../../mount/control-client.ts';
import { STATE_FILES, stateFolderOf } from '../../mount/state-folder.ts';
import { formatCount, type GlobalOptions, printResult } from '../terminal.ts';

interface RecordOptions extends GlobalOptions {
  readonly output: string;
}

const TIMEOUT_MS = 30_000;

export function configure(command: Command): void {
  command
    .argument('<folder>', 'where a repository is mounted')
    .argument('[command...]', 'record while this runs; without it, until Ctrl-C')
    .requiredOption('--output <file>', 'where the recording goes')
    .addHelpText(
      'after',
      "\nWhat the kernel has in memory it does not ask for: record a fresh mount, or drop its caches before\n(echo 3 > /proc/sys/vm/drop_caches). With --json, what the command prints is dropped.\n\nExamples:\n  thimble record /mnt/os --output build.rec\n  thimble record /mnt/os --output build.rec -- sh -c 'cd /mnt/os/src && make'",
    )
    .action(async (folder: string, workload: string[], _: unknown, self: Command) =>
      record(folder, workload, self.optsWithGlobals<RecordOptions>()),
    );
}

async function record(folder: string, workload: readonly string[], options: RecordOptions): Promise<void> {
  const socket = join(stateFolderOf(folder), STATE_FILES.control);
  await callControl(socket, { method: 'POST', path: '/record/start', timeoutMs: TIMEOUT_MS });
  let status: number | undefined;
  let text: string;
  try {
    status = await run(workload, options.json === true);
  } finally {
    text = await callControl(socket, { method: 'POST', path: '/record/stop', timeoutMs: TIMEOUT_MS });
  }
  const { fqrn, rootCatalog, objects } = parseRecording(text);
  write(options.output, text);
  const catalogs = objects.filter(({ isCatalog }) => isCatalog).length;
  const result = { output: options.output, fqrn, rootCatalog, objects: objects.length, catalogs, status };
  printResult(
    options,
    result,
    `Recorded ${formatCount(objects.length)} objects, ${formatCount(catalogs)} of them catalogs, in ${options.output}`,
  );
  if (status !== undefined) process.exitCode = status;
}

/** Runs until the command ends, and answers its status; without one until Ctrl-C. */
async function run([program, ...args]: readonly string[], isSilent: boolean): Promise<number | undefined> {
  if (program === undefined) {
    process.stderr.write('Recording; end it with Ctrl-C\n');
    await untilSignal();
    return undefined;
  }
  // Ctrl-C ends the command, and with it the recording.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    return await new Promise<number>((resolve, reject) => {
      // With --json, stdout is the result and nothing else.
      const child = spawn(program, args, { stdio: ['inherit', isSilent ? 'ignore' : 'inherit', 'inherit'] });
      child.once('error', (error) =>
        reject(new ThimbleError('USAGE', `Cannot run ${program}`, { cause: error })),
      );
      child.once('close', (code) => resolve(code ?? 128));
    });
  } finally {
    process.off('SIGINT', ignore);
  }
}

function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    // Signals alone keep no process alive.
    const keepAlive = setInterval(() => {}, 60_000);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        clearInterval(keepAlive);
        resolve();
      });
    }
  });
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot write ${file}`, { cause: error });
  }
}
