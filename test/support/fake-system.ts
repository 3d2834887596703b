/** The machine that tests boot the guest on. */

import { ascii, bytesOf } from '../../src/core/bytes/byte-string.ts';
import { Boot } from '../../src/guest/boot.ts';
import { PROBE_BYTES } from '../../src/guest/scratch-disk.ts';
import type { GuestSettings } from '../../src/guest/settings.ts';
import type { GuestSystem, RunResult } from '../../src/guest/system.ts';

const IMAGE = { fqrn: 'os.example.org', servers: ['http://server/cvmfs/@fqrn@'], proxies: [] };
export const OK: RunResult = { status: 0, output: '' };

/** A machine made of a table of files; its clock moves only when somebody sleeps or runs something. */
export class FakeSystem implements GuestSystem {
  readonly files = new Map<string, string>([
    ['/etc/thimble.json', JSON.stringify(IMAGE)],
    ['/proc/cmdline', 'quiet\n'],
    ['/proc/meminfo', 'MemTotal:         524288 kB\nMemFree: 1 kB\n'],
    ['/sys/class/net/lo/type', '772\n'],
    ['/sys/class/net/eth0/type', '1\n'],
    ['/sys/class/net/eth0/device', ''],
    ['/sys/class/net/eth0/address', '52:54:00:12:34:56\n'],
  ]);
  readonly ran: string[] = [];
  readonly said: string[] = [];
  readonly written = new Map<string, string>();
  readonly made: string[] = [];
  nowMs = 0;
  answer: (command: string) => RunResult | undefined = () => undefined;
  onSleep: () => void = () => {};

  run(program: string, args: readonly string[]): RunResult {
    const command = [program.replace('/bin/', ''), ...args].join(' ');
    this.ran.push(command);
    return this.answer(command) ?? OK;
  }

  async start(program: string, args: readonly string[]): Promise<RunResult> {
    this.nowMs += 1000;
    return this.run(program, args);
  }

  readText(path: string): string | undefined {
    return this.files.get(path);
  }

  readStart(path: string, length: number): Uint8Array {
    return bytesOf(ascii(this.files.get(path) ?? '')).subarray(0, length);
  }

  writeText(path: string, text: string): void {
    this.written.set(path, text);
  }

  list(path: string): readonly string[] {
    const below = [...this.files.keys()].filter((file) => file.startsWith(`${path}/`));
    return [...new Set(below.map((file) => file.slice(path.length + 1).split('/')[0]!))];
  }

  makeDirectory(path: string): void {
    this.made.push(path);
  }

  exists(path: string): boolean {
    return this.files.has(path) || this.list(path).length > 0;
  }

  say(line: string): void {
    this.said.push(line);
  }

  async sleep(ms: number): Promise<void> {
    this.nowMs += ms;
    this.onSleep();
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  addDisk(name: string, start: string, ro = '0\n'): this {
    this.files
      .set(`/sys/class/block/${name}/size`, '2048\n')
      .set(`/sys/class/block/${name}/ro`, ro)
      .set(`/dev/${name}`, start.padEnd(PROBE_BYTES, '\0'));
    return this;
  }
}

export function machine(change: (system: FakeSystem) => void = () => {}): { system: FakeSystem; boot: Boot } {
  const system = new FakeSystem();
  change(system);
  return { system, boot: new Boot(system) };
}

export const settingsWith = (changes: Partial<GuestSettings> = {}): GuestSettings => ({
  ...machine().boot.settings(),
  ...changes,
});
