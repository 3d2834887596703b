import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GuestSystem, RunResult } from '../guest/system.ts';

const MAX_OUTPUT = 2000;
const STDOUT = 1;

/** The machine that this process is the first program of. */
export const nodeGuestSystem: GuestSystem = {
  run(program, args) {
    const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'latin1' });
    if (error !== undefined) return { status: 127, output: error.message };
    return { status: status ?? 128, output: cut(stdout + stderr) };
  },
  start(program, args) {
    return new Promise<RunResult>((resolve) => {
      const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      const collect = (chunk: Buffer) => {
        output = cut(output + chunk.toString('latin1'));
      };
      child.stdout.on('data', collect);
      child.stderr.on('data', collect);
      child.once('error', (error) => resolve({ status: 127, output: error.message }));
      child.once('close', (status) => resolve({ status: status ?? 128, output }));
    });
  },
  readText(path) {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      // Absent, or a device that went away: the same to whoever asks.
      return undefined;
    }
  },
  readStart(path, length) {
    const bytes = new Uint8Array(length);
    try {
      const fd = openSync(path, 'r');
      try {
        return bytes.subarray(0, readSync(fd, bytes, 0, length, 0));
      } finally {
        closeSync(fd);
      }
    } catch {
      // No medium, or not readable: nothing is known of it, and it is left alone.
      return bytes.subarray(0, 0);
    }
  },
  writeText: (path, text) => writeFileSync(path, text, 'latin1'),
  list(path) {
    try {
      return readdirSync(path);
    } catch {
      return [];
    }
  },
  makeDirectory: (path) => void mkdirSync(path, { recursive: true }),
  exists: (path) => existsSync(path) || lstatSync(path, { throwIfNoEntry: false }) !== undefined,
  say: (line) => void writeSync(STDOUT, `${line}\n`),
  sleep: (ms) => sleep(ms),
  monotonicMs: () => performance.now(),
};

function cut(text: string): string {
  return text.length <= MAX_OUTPUT ? text : `${text.slice(0, MAX_OUTPUT)} ...`;
}
