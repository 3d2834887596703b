/**
 * All tests: `./thimble test [--only NAME,...] [PATTERN...]`. Each step prints its runner's own closing lines; the last
 * line sums up. With patterns, only the test files whose path contains one of them run.
 */

import { spawnSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { ensurePackages, TEST_PACKAGES } from '../src/cli/debian-packages.ts';
import { reportError } from '../src/cli/terminal.ts';
import { ALL_NEEDS } from '../test/support/needs.ts';

const ROOT = new URL('..', import.meta.url).pathname;
const TOOL = (name: string) => `${ROOT}node_modules/.bin/${name}`;
const SECONDS = 1000;

interface Step {
  readonly name: string;
  /** Commands, run in order. */
  readonly commands?: readonly (readonly string[])[];
  /** Or test files. */
  readonly files?: readonly string[];
  readonly timeoutMs?: number;
  /** How many files run at once, if not one on each core; a virtual machine wants more than one. */
  readonly concurrency?: number;
  readonly needsPackages?: boolean;
}

const STEPS: readonly Step[] = [
  {
    name: 'lint',
    commands: [
      [TOOL('biome'), 'check'],
      [TOOL('eslint'), '.'],
    ],
  },
  {
    name: 'types',
    commands: [
      [TOOL('tsc'), '-p', 'tsconfig.json'],
      [TOOL('tsc'), '-p', 'tsconfig.portable.json'],
    ],
  },
  { name: 'unit', files: ['src/**/*.test.ts', 'test/property/*.test.ts'], timeoutMs: 300 * SECONDS },
  {
    name: 'system',
    files: ['test/{architecture,golden,cli,faults,mount}/**/*.test.ts'],
    timeoutMs: 300 * SECONDS,
    needsPackages: true,
  },
  {
    name: 'vm',
    files: ['test/vm/*.test.ts'],
    timeoutMs: 900 * SECONDS,
    concurrency: 1,
    needsPackages: true,
  },
];

function runStep(step: Step, patterns: readonly string[]): boolean {
  const files = (step.files ?? [])
    .flatMap((pattern) => globSync(pattern, { cwd: ROOT }))
    .filter((file) => patterns.length === 0 || patterns.some((pattern) => file.includes(pattern)))
    .sort();
  if (step.files !== undefined && files.length === 0) return patterns.length > 0;
  const commands = step.commands ?? [testCommand(step, files)];
  return commands.every((command) => run(command));
}

function testCommand(
  { timeoutMs, concurrency = availableParallelism() }: Step,
  files: readonly string[],
): string[] {
  return [
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    '--import',
    `${ROOT}test/support/setup.ts`,
    '--test',
    // A test that fails may leave something open, and nobody would hear of it.
    '--test-force-exit',
    `--test-timeout=${timeoutMs}`,
    // The runner's own choice is a core less, although tests of mounts and faults wait most of the time.
    `--test-concurrency=${concurrency}`,
    ...files,
  ];
}

function run([program = '', ...args]: readonly string[]): boolean {
  const { status } = spawnSync(program, args, { cwd: ROOT, stdio: 'inherit', env: environment });
  return status === 0;
}

const { values, positionals } = parseArgs({
  options: { only: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  allowPositionals: true,
});
const wanted = values.only?.split(',') ?? STEPS.map(({ name }) => name);
const environment = { ...process.env };

function main(): number {
  if (values.help) {
    const names = STEPS.map(({ name }) => name).join(', ');
    process.stdout.write(
      `Usage: thimble test [--only NAME,...] [PATTERN...]\n\nSteps: ${names}\n\nExample:\n  thimble test --only unit catalog\n`,
    );
    return 0;
  }
  const steps = STEPS.filter(
    ({ name, files }) => wanted.includes(name) && (files || positionals.length === 0),
  );
  try {
    if (steps.some(({ needsPackages }) => needsPackages)) {
      ensurePackages(TEST_PACKAGES, (line) => process.stderr.write(`${line}\n`));
      // Everything is here now: a test that is skipped would hide something.
      if (process.getuid?.() === 0) environment['REQUIRED_TESTS'] = ALL_NEEDS.join(',');
    }
  } catch (error) {
    return reportError(error, {});
  }
  const failed: string[] = [];
  for (const step of steps) {
    const startedMs = performance.now();
    process.stdout.write(`\n== ${step.name}\n`);
    const isGood = runStep(step, positionals);
    if (!isGood) failed.push(step.name);
    const seconds = ((performance.now() - startedMs) / SECONDS).toFixed(1);
    process.stdout.write(`== ${step.name}: ${isGood ? 'passed' : 'FAILED'} (${seconds} s)\n`);
  }
  const all = steps.map(({ name }) => name).join(', ');
  process.stdout.write(failed.length === 0 ? `\nPassed: ${all}\n` : `\nFailed: ${failed.join(', ')}\n`);
  return failed.length === 0 ? 0 : 1;
}

process.exitCode = main();
