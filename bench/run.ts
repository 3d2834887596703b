/** `npm run bench -- NAME [--json]`: runs a benchmark from a clean checkout; each makes its own data. */

import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type Bar, describeMachine, type Figures, report } from './report.ts';

export interface Benchmark {
  readonly bars: Readonly<Record<string, Bar>>;
  run(): Promise<Figures>;
}

const BENCHMARKS: Readonly<Record<string, () => Promise<Benchmark>>> = {
  check: () => import('./check.ts'),
  client: () => import('./client.ts'),
  fuse: () => import('./fuse.ts'),
  profile: () => import('./profile.ts'),
  publish: () => import('./publish.ts'),
  replicate: () => import('./replicate.ts'),
};

if (process.argv[2] === 'fuzz') {
  // No figures but findings, and options of its own.
  await (await import('./fuzz.ts')).runFuzz(process.argv.slice(3));
  process.exit();
}

if (process.argv[2] === 'kill') {
  await (await import('./kill.ts')).runKill(process.argv.slice(3));
  process.exit();
}

if (process.argv[2] === 'soak') {
  await (await import('./soak.ts')).runSoak(process.argv.slice(3));
  process.exit();
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { json: { type: 'boolean' } } });
const names = positionals.length === 0 ? Object.keys(BENCHMARKS) : positionals;
for (const name of names) {
  const load = BENCHMARKS[name];
  if (load === undefined) {
    process.stderr.write(
      `error: there is no benchmark ${name}\nhint: choose from ${Object.keys(BENCHMARKS).join(', ')}\n`,
    );
    process.exit(2);
  }
  if (loadavg()[0]! > 0.5)
    process.stderr.write(
      `The machine is busy (load ${loadavg()[0]!.toFixed(1)}); figures may be worse than they should be.\n`,
    );
  const machine = describeMachine();
  const { bars, run } = await load();
  report(name, machine, await run(), bars, values.json ?? false);
}
