/**
 * A million hostile inputs for every decoder: `npm run bench -- fuzz [--inputs N] [--seed N] [DECODER...]`. An input has to be
 * decoded or refused with a code, within a second, and leave no memory behind. What is not ends up, made small, in
 * `test/malformed/DECODER/`, where the tests find it.
 */

import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { DECODERS } from '../test/support/fuzz/decoders.ts';
import { findFailure, minimised } from '../test/support/fuzz/fuzzing.ts';
import { inputOf } from '../test/support/fuzz/mutation.ts';
import { describeMachine } from './report.ts';

const MALFORMED = new URL('../test/malformed/', import.meta.url).pathname;
const SLOW_MS = 1000;
/** By the clock, which runs on while other processes have the processor; for inputs that never end. */
const HANG_MS = 30_000;
const LOOK_MS = 500;
/** Memory is looked at this often, at most; single inputs show by it too, as what they took is not given back at once. */
const MEMORY_EVERY = 4096;
const MAX_PEAK_BYTES = 512 * 2 ** 20;
const MAX_GROWTH_BYTES = 24 * 2 ** 20;
const HEAP_LIMIT_MB = 1024;

interface Job {
  readonly role: 'fuzz-worker';
  readonly name: string;
  readonly seed: number;
  readonly inputs: number;
  /** The number of the input that is being decoded. */
  readonly progress: SharedArrayBuffer;
}

interface Outcome {
  readonly kind: 'clean' | 'thrown' | 'slow' | 'memory';
  readonly index: number;
  readonly input?: Uint8Array;
  readonly message?: string;
}

class Abandoned extends Error {
  readonly outcome: Outcome;
  constructor(outcome: Outcome) {
    super(outcome.kind);
    this.outcome = outcome;
  }
}

// ---- the worker ----

async function work({ name, seed, inputs, progress }: Job): Promise<Outcome> {
  const decoder = DECODERS[name]!;
  const current = new Int32Array(progress);
  const memory = new MemoryWatch(inputs);
  let startedMs = performance.now();
  const onInput = (index: number) => {
    Atomics.store(current, 0, index);
    const nowMs = performance.now();
    // Other processes may have had the processor: asked again alone, only a slow one is slow.
    if (nowMs - startedMs > SLOW_MS && isSlow(name, seed, index - 1)) {
      throw new Abandoned({ kind: 'slow', index: index - 1 });
    }
    startedMs = nowMs;
    if (index % MEMORY_EVERY === 0) memory.look(index);
  };
  const finding = await findFailure(decoder, { seed, inputs, onInput });
  if (finding === undefined) {
    memory.look(inputs);
    return { kind: 'clean', index: inputs };
  }
  const message = finding.error instanceof Error ? finding.error.stack! : String(finding.error);
  return { kind: 'thrown', index: finding.index, input: await minimised(decoder, finding), message };
}

function isSlow(name: string, seed: number, index: number): boolean {
  const decoder = DECODERS[name]!;
  const input = inputOf(decoder.samples, seed, index);
  const before = process.threadCpuUsage();
  try {
    decoder.decode(input);
  } catch {
    // How long it takes is the question.
  }
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000 > SLOW_MS;
}

/** What lives after a quarter of the inputs has to be what lives after all of them. */
class MemoryWatch {
  readonly #quarter: number;
  readonly #last: number;
  readonly #startBytes = process.memoryUsage.rss();
  readonly #collect: () => void;
  #liveBytes: number | undefined;

  constructor(inputs: number) {
    this.#quarter = inputs / 4;
    this.#last = inputs;
    setFlagsFromString('--expose-gc');
    this.#collect = runInNewContext('gc') as () => void;
  }

  look(index: number): void {
    const peak = process.memoryUsage.rss() - this.#startBytes;
    if (peak > MAX_PEAK_BYTES) this.#abandon(index, `${peak} bytes are taken`);
    if (index === this.#last || (this.#liveBytes === undefined && index >= this.#quarter)) {
      const live = this.#live();
      this.#liveBytes ??= live;
      const growth = live - this.#liveBytes;
      if (growth > MAX_GROWTH_BYTES) this.#abandon(index, `${growth} bytes more live than at a quarter`);
    }
  }

  #live(): number {
    // Compiled patterns and the like are dropped only after several collections.
    for (let i = 0; i < 8; i++) this.#collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  }

  #abandon(index: number, message: string): never {
    throw new Abandoned({ kind: 'memory', index, message });
  }
}

// ---- the main thread ----

async function fuzz(name: string, seed: number, inputs: number): Promise<Outcome> {
  const progress = new SharedArrayBuffer(4);
  const current = new Int32Array(progress);
  const job: Job = { role: 'fuzz-worker', name, seed, inputs, progress };
  const worker = new Worker(new URL(import.meta.url), {
    workerData: job,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_LIMIT_MB },
  });
  const outcome = new Promise<Outcome>((resolve) => {
    worker.once('message', resolve);
    worker.once('error', (error) =>
      resolve({ kind: 'memory', index: Atomics.load(current, 0), message: String(error) }),
    );
  });
  let index = -1;
  let sinceMs = performance.now();
  const watch = setInterval(() => {
    const now = Atomics.load(current, 0);
    if (now !== index) sinceMs = performance.now();
    else if (performance.now() - sinceMs > HANG_MS) worker.emit('message', { kind: 'slow', index });
    index = now;
  }, LOOK_MS);
  try {
    return await outcome;
  } finally {
    clearInterval(watch);
    await worker.terminate();
  }
}

/** Keeps what was found where the tests look, and says where that is. */
function keep(name: string, seed: number, { index, input }: Outcome): string {
  const bytes = input ?? inputOf(DECODERS[name]!.samples, seed, index);
  const id = createHash('sha1').update(bytes).digest('hex').slice(0, 12);
  const file = join(MALFORMED, name, `${id}.bin`);
  mkdirSync(join(MALFORMED, name), { recursive: true });
  writeFileSync(file, bytes);
  return file;
}

/** Runs until the end, and sets the exit status to 1 if anything was found. */
export async function runFuzz(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { inputs: { type: 'string' }, seed: { type: 'string' }, json: { type: 'boolean' } },
  });
  const inputs = Number(values.inputs ?? 1_000_000);
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  const names = positionals.length === 0 ? Object.keys(DECODERS) : positionals;
  const unknown = names.find((name) => DECODERS[name] === undefined);
  if (unknown !== undefined || !(inputs > 0) || !Number.isInteger(seed)) {
    const hint = `choose from ${Object.keys(DECODERS).join(', ')}`;
    process.stderr.write(`error: there is no decoder ${unknown}, or a number is none\nhint: ${hint}\n`);
    process.exit(2);
  }
  process.stderr.write(`Fuzzing ${names.length} decoders with ${inputs} inputs each, seed ${seed}\n`);
  const figures: Record<string, number> = {};
  for (const name of names) {
    const startedMs = performance.now();
    const outcome = await fuzz(name, seed, inputs);
    const microseconds = ((performance.now() - startedMs) * 1000) / Math.max(1, outcome.index);
    figures[name] = outcome.index;
    if (outcome.kind === 'clean') {
      process.stderr.write(`  ${name.padEnd(24)} ${inputs} inputs, ${microseconds.toFixed(0)} us each\n`);
      continue;
    }
    process.exitCode = 1;
    const file = keep(name, seed, outcome);
    process.stderr.write(
      `  ${name.padEnd(24)} input ${outcome.index}: ${outcome.kind}, kept as ${file}\n${outcome.message ?? ''}\n`,
    );
  }
  if (values.json)
    process.stdout.write(`${JSON.stringify({ bench: 'fuzz', machine: describeMachine(), seed, figures })}\n`);
}

if (!isMainThread && (workerData as Partial<Job>)?.role === 'fuzz-worker') {
  const port = parentPort!;
  work(workerData as Job).then(
    (outcome) => port.postMessage(outcome),
    (error: unknown) => {
      if (!(error instanceof Abandoned)) throw error;
      port.postMessage(error.outcome);
    },
  );
}
