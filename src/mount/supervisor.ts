/** How a supervised mount is started and asked for something: `supervisor.sh` does the work. */

import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ThimbleError } from '../core/errors.ts';
import { identityOf } from '../node/process-identity.ts';
import { ownerOf, STATE_FILES, stateFolderOf } from './state-folder.ts';

/** systemd leaves processes alone at shutdown whose name begins like this. */
export const ROOT_STORAGE_NAME = '@thimble';

const SCRIPT = fileURLToPath(new URL('./supervisor.sh', import.meta.url));

/** How long the next server may take: as long as the supervisor tries. */
const RELOAD_TIMEOUT_MS = 60_000;
const UNMOUNT_TIMEOUT_MS = 10_000;
const LOOK_MS = 10;

export interface ServerCommand {
  /** Relative paths in `args` count from here. */
  readonly folder: string;
  /** What runs the command line of an installation. */
  readonly program: readonly string[];
  /** Of the command line: `mount SOURCE FOLDER ...`. */
  readonly args: readonly string[];
}

/** The program and arguments of a supervisor; it is to be run in the state folder. */
export function supervisorCommand(mountpoint: string): readonly [program: string, ...args: string[]] {
  return ['/bin/sh', SCRIPT, mountpoint];
}

/** Writes what the supervisor runs, or, for an upgrade, will run when the server has ended. */
export function writeServerCommand(stateFolder: string, command: ServerCommand): void {
  const file = join(stateFolder, STATE_FILES.command);
  const words = [...command.program, ...command.args].map(quoted);
  // The first line is for `readServerCommand`, the rest for the shell.
  const text = `# ${JSON.stringify(command)}\ncd ${quoted(command.folder)} 2>/dev/null || cd /\nexec ${words.join(' ')}\n`;
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** A word of a shell command, whatever is in it. */
export function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function readServerCommand(stateFolder: string): ServerCommand {
  const text = readFileSync(join(stateFolder, STATE_FILES.command), 'utf8');
  return JSON.parse(text.slice(2, text.indexOf('\n'))) as ServerCommand;
}

/** The process that answers the kernel; `undefined` while there is none. */
function serverOf(stateFolder: string): number | undefined {
  try {
    return Number(readFileSync(join(stateFolder, STATE_FILES.served), 'latin1')) || undefined;
  } catch {
    return undefined;
  }
}

/**
 * Has a mount served by a new process, of another installation if `program` is given, and waits until it serves. Readers wait meanwhile.
 * Throws NOT_FOUND, UNSUPPORTED for a mount without a supervisor, CONFLICT if the new one does not serve: then the old one goes on.
 */
export async function reloadServer(mountpoint: string, program?: readonly string[]): Promise<number> {
  const folder = stateFolderOf(mountpoint);
  const owner = ownerOf(folder);
  const before = serverOf(folder);
  if (owner === undefined || before === undefined)
    throw new ThimbleError('NOT_FOUND', `Cannot reload ${mountpoint}: no process of Thimble serves it`);
  if (owner === before) {
    throw new ThimbleError('UNSUPPORTED', `Cannot reload ${mountpoint}: it has no supervisor`, {
      hint: 'unmount it, and mount it again without --no-supervisor',
    });
  }
  const previous = join(folder, STATE_FILES.previousCommand);
  if (program !== undefined) {
    copyFileSync(join(folder, STATE_FILES.command), previous);
    writeServerCommand(folder, { ...readServerCommand(folder), program });
  }
  process.kill(owner, 'SIGHUP');
  const isServed = () => (serverOf(folder) ?? before) !== before;
  if (!(await comesTrue(isServed, RELOAD_TIMEOUT_MS)) || (program !== undefined && !existsSync(previous))) {
    throw new ThimbleError('CONFLICT', `Cannot reload ${mountpoint}: the new server does not serve`, {
      hint: 'see the log of the mount; the old one has taken over again if it could',
    });
  }
  rmSync(previous, { force: true });
  return serverOf(folder) ?? before;
}

/** Waits until no process serves what was mounted with this state folder; false if one still does after some seconds. */
export function isServerGone(owner: number): Promise<boolean> {
  const identity = identityOf(owner);
  return comesTrue(() => identity === undefined || identityOf(owner) !== identity, UNMOUNT_TIMEOUT_MS);
}

/** Other processes do not tell when they are done: looks again and again. */
async function comesTrue(isSo: () => boolean, timeoutMs: number): Promise<boolean> {
  for (const startedMs = performance.now(); performance.now() - startedMs < timeoutMs; await sleep(LOOK_MS)) {
    if (isSo()) return true;
  }
  return isSo();
}
