/** Virtual machines on QEMU. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, existsSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ThimbleError } from '../core/errors.ts';
import { BLANK_MARKER } from '../guest/scratch-disk.ts';
import { type Accelerator, accelerator } from './accelerator.ts';

export interface MachineOptions {
  /** ISO or disk image to boot. */
  readonly image: string;
  readonly memoryMiB: number;
  /** Scratch disk; made if it does not exist. */
  readonly disk?: { readonly path: string; readonly sizeBytes: number } | undefined;
  /** Port of this machine that leads to the guest's SSH port. */
  readonly sshPort?: number | undefined;
  /** Settings for the guest, such as `thimble.tag=v1`: SMBIOS OEM strings. */
  readonly settings?: readonly string[];
  /** OpenSSH public key that root may log in with. */
  readonly sshKey?: string | undefined;
  /** Root is logged in on the console without being asked; for machines of one's own. */
  readonly autologin?: boolean;
  readonly uefi?: boolean;
}

/** Shown when the machine waits for somebody to log in, also where that happens by itself. */
export const LOGIN_PROMPT = /\blogin: /;
const CORES = 2;
const OVMF = ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/ovmf/OVMF.fd'];

export class Machine {
  readonly accelerator: Accelerator;
  /** What the console has said so far. */
  console = '';
  /** Status of QEMU, once it has ended. */
  readonly exited: Promise<number | null>;
  readonly #child: ChildProcess;
  readonly #startedMs = performance.now();
  #wake: (() => void)[] = [];
  #ended = false;

  private constructor(child: ChildProcess, used: Accelerator) {
    this.#child = child;
    this.accelerator = used;
    const onChange = () => {
      for (const wake of this.#wake.splice(0)) wake();
    };
    const collect = (chunk: Buffer) => {
      this.console += chunk.toString('latin1');
      onChange();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    this.exited = new Promise((resolve) => {
      child.once('close', (status) => {
        this.#ended = true;
        onChange();
        resolve(status);
      });
    });
  }

  /** Starts a machine whose console is read and written by the caller. Throws NOT_FOUND without QEMU. */
  static async start(options: MachineOptions): Promise<Machine> {
    const used = await accelerator();
    const args = [...qemuArguments(options, used), '-serial', 'stdio', '-monitor', 'none', '-no-reboot'];
    const child = spawn(QEMU, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => reject(missing(error)));
    });
    return new Machine(child, used);
  }

  /** Seconds since power-on. */
  get upSeconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }

  /**
   * Waits until the console shows `pattern` after position `from`; answers with the position behind it. Throws CANCELLED
   * with the end of the console when the machine ends before, or after `timeoutMs`.
   */
  async waitFor(pattern: RegExp, timeoutMs: number, from = 0): Promise<number> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const match = pattern.exec(this.console.slice(from));
      if (match !== null) return from + match.index + match[0].length;
      const left = deadline - performance.now();
      if (this.#ended || left <= 0) {
        const what = this.#ended ? 'the machine ended' : `${Math.round(timeoutMs / 1000)} s have passed`;
        throw new ThimbleError(
          'CANCELLED',
          `Waited for ${pattern} on the console, but ${what}. Its last lines:\n${this.tail()}`,
        );
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Waits for the prompt of a shell that was opened by `autologin`. */
  async waitForShell(timeoutMs: number): Promise<void> {
    const from = await this.waitFor(LOGIN_PROMPT, timeoutMs);
    // What is typed before the shell reads is lost.
    await this.waitFor(/root@[^\n]*# $/, timeoutMs, from);
  }

  /** Runs a command in the shell on the console; answers with what it printed. */
  async shell(command: string, timeoutMs: number): Promise<string> {
    const mark = `mark${Math.floor(performance.now() * 1000).toString(36)}`;
    const from = this.console.length;
    // The echo of what is typed must not look like the answer.
    this.type(
      `echo "<${mark.slice(0, 4)}""${mark.slice(4)}>"; ${command}; echo "</${mark.slice(0, 4)}""${mark.slice(4)}>"\n`,
    );
    const start = await this.waitFor(new RegExp(`<${mark}>\\r?\\n`), timeoutMs, from);
    const end = await this.waitFor(new RegExp(`</${mark}>`), timeoutMs, start);
    return this.console
      .slice(start, end - `</${mark}>`.length)
      .replaceAll('\r', '')
      .trimEnd();
  }

  type(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** The last lines of the console, without control characters. */
  tail(lines = 15): string {
    const plain = this.console
      // Whoever places the cursor begins a line.
      .replace(/\x1b\[[0-9;]*H/g, '\n')
      .replace(/\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b.|[^\n\x20-\x7e]/g, '');
    return plain
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(-lines)
      .join('\n');
  }

  /** Pulls the plug. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.exited;
  }
}

/** Runs a machine on this terminal until it is off. Answers with the status of QEMU. */
export async function runOnTerminal(options: MachineOptions): Promise<number> {
  const args = [...qemuArguments(options, await accelerator()), '-serial', 'mon:stdio'];
  const child = spawn(QEMU, args, { stdio: 'inherit' });
  // Ctrl-C belongs to the guest.
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(missing(error)));
      child.once('close', (status) => resolve(status ?? 1));
    });
  } finally {
    process.off('SIGINT', ignore);
  }
}

const QEMU = 'qemu-system-x86_64';

export function qemuArguments(options: MachineOptions, used: Accelerator): string[] {
  if (!existsSync(options.image)) {
    throw new ThimbleError('NOT_FOUND', `Cannot run ${options.image}: there is no such image`, {
      hint: 'build one with: thimble image build',
    });
  }
  const forward = options.sshPort === undefined ? '' : `,hostfwd=tcp:127.0.0.1:${options.sshPort}-:22`;
  const args = [
    ...['-machine', 'q35', '-accel', used === 'tcg' ? 'tcg,thread=multi' : 'kvm', '-cpu', cpuModel(used)],
    ...['-smp', String(Math.min(CORES, availableParallelism())), '-m', String(options.memoryMiB)],
    ...['-display', 'none', '-vga', 'none', '-nodefaults'],
    ...bootDrive(options.image),
    ...['-netdev', `user,id=net${forward}`, '-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-device', 'virtio-rng-pci'],
  ];
  if (options.uefi) args.push('-bios', firmware());
  if (options.disk !== undefined) {
    makeDisk(options.disk.path, options.disk.sizeBytes);
    args.push(
      '-drive',
      `file=${escaped(options.disk.path)},if=virtio,format=raw,cache=writeback,discard=unmap`,
    );
  }
  for (const text of oemStrings(options)) args.push('-smbios', `type=11,value=${escaped(text)}`);
  return args;
}

/** An ISO boots as a CD, everything else as a disk. */
function bootDrive(image: string): string[] {
  if (/\.iso$/.test(image)) return ['-drive', `file=${escaped(image)},media=cdrom,format=raw,readonly=on`];
  const format = /\.qcow2$/.test(image) ? 'qcow2' : 'raw';
  return ['-drive', `file=${escaped(image)},if=virtio,format=${format},snapshot=on`];
}

/** systemd reads its credentials, and the guest its settings, from here. */
function oemStrings({ settings = [], sshKey, autologin }: MachineOptions): string[] {
  const strings = [...settings];
  if (sshKey !== undefined) {
    const encoded = Buffer.from(`${sshKey.trim()}\n`).toString('base64');
    strings.push(`io.systemd.credential.binary:ssh.authorized_keys.root=${encoded}`);
  }
  if (autologin) {
    strings.push('io.systemd.credential:agetty.autologin=root', 'io.systemd.credential:login.noauth=yes');
  }
  return strings;
}

/**
 * QEMU before 8 corrupts flags on cmpxchg16b under software emulation, and kernels crash; without the feature they do not
 * use it.
 */
function cpuModel(used: Accelerator): string {
  if (used === 'kvm') return 'host';
  return qemuMajorVersion() < 8 ? 'max,-cx16' : 'max';
}

function qemuMajorVersion(): number {
  try {
    const text = execFileSync(QEMU, ['--version'], { encoding: 'utf8' });
    return Number(/version (\d+)/.exec(text)?.[1] ?? 0);
  } catch (error) {
    throw missing(error);
  }
}

function firmware(): string {
  const path = OVMF.find((candidate) => existsSync(candidate));
  if (path !== undefined) return path;
  throw new ThimbleError('NOT_FOUND', 'Cannot boot with UEFI: there is no firmware for it', {
    hint: 'install the package ovmf',
  });
}

/** A sparse file with the marker that lets the guest format it. An existing disk is left as it is. */
export function makeDisk(path: string, sizeBytes: number): void {
  if (existsSync(path)) return;
  try {
    const fd = openSync(path, 'wx', 0o600);
    try {
      ftruncateSync(fd, sizeBytes);
      writeSync(fd, BLANK_MARKER, 0);
    } catch (error) {
      // Left there, it would be taken for somebody's disk.
      rmSync(path);
      throw error;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new ThimbleError('STORAGE', `Cannot make disk ${path}`, { cause: error });
  }
}

/** In QEMU's options a comma ends a value unless it is doubled. */
function escaped(text: string): string {
  return text.replaceAll(',', ',,');
}

function missing(cause: unknown): ThimbleError {
  return new ThimbleError('NOT_FOUND', `Cannot run ${QEMU}`, {
    hint: 'install the package qemu-system-x86',
    cause,
  });
}
