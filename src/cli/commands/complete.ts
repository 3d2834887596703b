import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CompletionStatus } from '../../client/complete.ts';
import { ThimbleError } from '../../core/errors.ts';
import { callControlJson } from '../../mount/control-client.ts';
import { controlSocketOf } from '../../mount/status-mounts.ts';
import { completionText, parseRate } from '../completion-progress.ts';
import { type GlobalOptions, printResult, withProgress } from '../terminal.ts';

interface CompleteOptions extends GlobalOptions {
  readonly rate?: string;
  readonly wait?: boolean;
  readonly cancel?: boolean;
}

/** All catalogs may have to be fetched before the answer. */
const START_TIMEOUT_MS = 24 * 3600 * 1000;
const TIMEOUT_MS = 30_000;
const LOOK_MS = 500;

export function configure(command: Command): void {
  command
    .argument('<folder>', 'where a repository is mounted')
    .argument('[paths...]', 'files and folders in it; all of it where none is given')
    .option('--rate <size>', 'bytes of content each second, such as 10M')
    .option('--wait', 'until all is there; Ctrl-C leaves it going on in the background')
    .option('--cancel', 'stop what was begun; what has come stays')
    .addHelpText(
      'after',
      '\nThe mount downloads what is not in its cache yet, behind everything that is read. It can be broken off and begun\nagain at any time.\n\nExamples:\n  thimble complete /mnt/os --wait\n  thimble complete /mnt/os /mnt/os/usr/lib --rate 10M\n  thimble complete /mnt/os --cancel',
    )
    .action(async (folder: string, paths: string[], _: unknown, self: Command) =>
      complete(folder, paths, self.optsWithGlobals<CompleteOptions>()),
    );
}

async function complete(folder: string, paths: readonly string[], options: CompleteOptions): Promise<void> {
  const socket = controlSocketOf(folder);
  if (options.cancel) {
    const call = { method: 'DELETE', path: '/complete', timeoutMs: TIMEOUT_MS } as const;
    const stopped = await callControlJson<CompletionStatus>(socket, call);
    return printResult(options, stopped, `Stopped: ${completionText(stopped)}`);
  }
  const rateBytesPerSecond = parseRate(options.rate);
  const body = {
    ...(paths.length === 0 ? {} : { paths: paths.map((path) => resolve(path)) }),
    ...(rateBytesPerSecond === undefined ? {} : { rateBytesPerSecond }),
  };
  const start = { method: 'POST', path: '/complete', body, timeoutMs: START_TIMEOUT_MS } as const;
  const started = await callControlJson<CompletionStatus>(socket, start);
  if (!options.wait) return printResult(options, started, `Begun: ${completionText(started)}`);
  const done = await withProgress(
    `Completing ${folder}`,
    (progress) => untilDone(socket, (status) => progress.update(() => completionText(status))),
    completionText,
  );
  printResult(options, done, completionText(done));
}

async function untilDone(
  socket: string,
  onStatus: (status: CompletionStatus) => void,
): Promise<CompletionStatus> {
  for (;;) {
    const call = { method: 'GET', path: '/complete', timeoutMs: TIMEOUT_MS } as const;
    const status = await callControlJson<CompletionStatus>(socket, call);
    onStatus(status);
    if (status.state === 'complete') return status;
    if (status.state === 'cancelled') throw new ThimbleError('CANCELLED', 'Stopped before all was there');
    if (status.state === 'failed') {
      throw new ThimbleError('STORAGE', `Cannot complete: ${status.lastError}`, {
        hint: 'begin again when it is mended: what has come stays',
      });
    }
    await new Promise((next) => setTimeout(next, LOOK_MS));
  }
}
