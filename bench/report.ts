/** What every benchmark prints: where it ran, and its figures. */

import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  readonly date: string;
  /** One-minute load average when the benchmark began; figures of a busy machine are worth little. */
  readonly load: number;
}

export type Figures = Readonly<Record<string, number>>;

/** Upper (or, for rates, lower) limits that a figure is held against. */
export interface Bar {
  readonly atMost?: number;
  readonly atLeast?: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    date: new Date().toISOString(),
    load: loadavg()[0]!,
  };
}

export function report(
  bench: string,
  machine: Machine,
  figures: Figures,
  bars: Readonly<Record<string, Bar>>,
  asJson: boolean,
): void {
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ bench, machine, figures })}\n`);
    return;
  }
  const { cpu, cores, memoryBytes, kernel, node, date, load } = machine;
  const lines = [
    `${bench}: ${cpu}, ${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB, Linux ${kernel}, Node ${node}, ${date}, load ${load.toFixed(1)}`,
  ];
  for (const [name, value] of Object.entries(figures)) {
    lines.push(`  ${name.padEnd(36)} ${formatFigure(value).padStart(12)}${verdict(value, bars[name])}`);
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

function verdict(value: number, bar: Bar | undefined): string {
  if (bar === undefined) return '';
  const limit = bar.atMost ?? bar.atLeast!;
  const meets = bar.atMost === undefined ? value >= limit : value <= limit;
  return `   bar ${bar.atMost === undefined ? '>=' : '<='} ${limit}  ratio ${(value / limit).toFixed(2)}  ${meets ? 'met' : 'MISSED'}`;
}

function formatFigure(value: number): string {
  return Number.isInteger(value) ? value.toLocaleString('en-US') : value.toPrecision(4);
}

/** Resident memory of a process at its highest, in bytes. */
export function peakMemoryBytes(pid: number | 'self'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) * 1024;
}
