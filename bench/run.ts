/**
 * `npm run bench -- NAME [--json] [--only SECTION,...]`: runs a benchmark, or sections of it, from a clean checkout; each makes its own
 * data.
 */

import { loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { type Bar, describeMachine, type Figures, report } from './report.ts';

export interface Benchmark {
  readonly bars: Readonly<Record<string, Bar>>;
  /** What `--only` may name; none in a benchmark that is run as a whole. */
  readonly sections?: readonly string[];
  run(sections: ReadonlySet<string>): Promise<Figures>;
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

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, only: { type: 'string' } },
});
const names = positionals.length === 0 ? Object.keys(BENCHMARKS) : positionals;
for (const name of names) {
  const load = BENCHMARKS[name];
  if (load === undefined) refuse(`there is no benchmark ${name}`, Object.keys(BENCHMARKS));
  if (loadavg()[0]! > 0.5)
    process.stderr.write(
      `The machine is busy (load ${loadavg()[0]!.toFixed(1)}); figures may be worse than they should be.\n`,
    );
  const machine = describeMachine();
  const { bars, sections = [], run } = await load();
  const chosen = values.only?.split(',') ?? sections;
  for (const section of chosen)
    if (!sections.includes(section)) refuse(`${name} has no section ${section}`, sections);
  report(name, machine, await run(new Set(chosen)), bars, values.json ?? false);
}

function refuse(what: string, choice: readonly string[]): never {
  process.stderr.write(`error: ${what}\nhint: choose from ${choice.join(', ')}\n`);
  process.exit(2);
}
