/**
 * Rounds of work on a repository and a replica of it, each in a process that is killed in the middle: by a signal after a
 * random time, or at a random one of its file operations. All from one seed, but for what the clock does.
 */

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ContentHash } from '../../src/core/content-hash.ts';
import { parseFqrn } from '../../src/core/fqrn.ts';
import { publicKeyFiles } from '../../src/publish/key-paths.ts';
import { assertSound, neededObjects } from './garbage.ts';
import { noise } from './memory-tree.ts';
import { randomNumbers } from './random-numbers.ts';
import { objectsOf, readManifest } from './storage-place.ts';
import { type Outcome, startThimble, thimble } from './thimble.ts';

const FQRN = parseFqrn('kill.example.org');
const CRASH_POINT = fileURLToPath(new URL('./publish-crash-point.ts', import.meta.url));
const FOLDERS = ['a', 'a/nested', 'b', 'b/nested', 'c'];
/** Of commands that were never seen to end. */
const GUESSED = { ms: 800, operations: 100 };
const TIMEOUT_MS = 120_000;

export interface KillOptions {
  /** An empty folder. */
  readonly scratch: string;
  readonly rounds: number;
  readonly seed: number;
  readonly onRound?: (line: string) => void;
}

export interface KillFigures {
  rounds: number;
  /** Ended by the signal; the others were faster. */
  killed: number;
  publishes: number;
  collections: number;
  replications: number;
  /** Killed ones that had done their work all the same. */
  advanced: number;
  /** The most objects that nobody needed before they were looked for. */
  mostLeft: number;
}

type Kind = 'publish' | 'gc' | 'replicate' | 'gc-replica';

/** Throws an AssertionError, with the round in its message, as soon as something is not as it has to be. */
export async function runKillRounds(options: KillOptions): Promise<KillFigures> {
  const rounds = new KillRounds(options);
  await rounds.prepare();
  for (let round = 1; round <= options.rounds; round++) await rounds.run(round);
  await rounds.finish();
  return rounds.figures;
}

class KillRounds {
  readonly #options: KillOptions;
  readonly #random: (below: number) => number;
  readonly #config: string;
  readonly #storage: string;
  readonly #replica: string;
  readonly #tree: string;
  readonly #tags: string[] = [];
  /** What commands of a kind take that are not killed. */
  readonly #usual = new Map<Kind, { ms: number; operations: number }>();
  readonly figures: KillFigures = {
    rounds: 0,
    killed: 0,
    publishes: 0,
    collections: 0,
    replications: 0,
    advanced: 0,
    mostLeft: 0,
  };

  constructor(options: KillOptions) {
    const { scratch, seed } = options;
    this.#options = options;
    this.#random = randomNumbers(seed);
    this.#config = join(scratch, 'config');
    this.#storage = join(scratch, 'storage', FQRN);
    this.#replica = join(scratch, 'replica', FQRN);
    this.#tree = join(scratch, 'tree');
  }

  get #key(): string {
    return publicKeyFiles(join(this.#config, 'repositories', FQRN), FQRN)[0]!;
  }

  async prepare(): Promise<void> {
    await this.#succeed('repo', 'create', FQRN, '--storage', this.#storage, '--chunks', '1k,4k,16k');
    for (const folder of FOLDERS) {
      mkdirSync(join(this.#tree, folder), { recursive: true });
      if (folder.endsWith('nested')) writeFileSync(join(this.#tree, folder, '.cvmfscatalog'), '');
    }
    for (let i = 0; i < 30; i++) this.#changeTree();
    await this.#succeed('publish', FQRN, this.#tree);
    await this.#succeed(...this.#command('replicate'));
  }

  async run(round: number): Promise<void> {
    const kind = this.#choose();
    if (kind === 'publish') for (let i = this.#random(8); i >= 0; i--) this.#changeTree();
    const before = readManifest(this.#storage);
    const replicated = readManifest(this.#replica);
    const tag = kind === 'publish' && this.#random(4) === 0 ? [`--tag=round-${round}`] : [];
    const how = this.#howToKill(kind);
    try {
      const outcome = await this.#kill([...this.#command(kind), ...tag], how);
      this.#count(kind, outcome);
      assert.ok(outcome.status === null || outcome.status === 0, outcome.stderr);
      const after = readManifest(this.#storage);
      const most = kind === 'publish' ? 1 : 0;
      assert.ok(after.revision >= before.revision && after.revision <= before.revision + most);
      if (outcome.status === null && after.revision > before.revision) this.figures.advanced++;
      if (tag.length > 0 && after.revision > before.revision) this.#tags.push(`round-${round}`);
      const copied = readManifest(this.#replica).revision;
      const newest = kind === 'replicate' ? after.revision : replicated.revision;
      assert.ok(copied === replicated.revision || copied === newest);
      await this.#assertWhole();
      await this.#again(kind);
      await this.#assertWhole();
      if (this.#tags.length > 3) await this.#succeed('tag', 'remove', FQRN, this.#tags.shift()!);
      if (round % 25 === 0) await this.finish();
      this.figures.rounds++;
      this.#options.onRound?.(`${round}: ${kind} ${how.text}, ended with ${outcome.status ?? 'SIGKILL'}`);
    } catch (error) {
      throw new Error(`round ${round} of seed ${this.#options.seed}: ${kind} ${how.text}`, { cause: error });
    }
  }

  /** All that was left is found, and nothing but what is needed stays. */
  async finish(): Promise<void> {
    const places = [
      { storage: this.#storage, name: FQRN },
      { storage: this.#replica, name: this.#replica },
    ];
    for (const { storage, name } of places) {
      const needed = withoutHistories(neededObjects(storage));
      this.figures.mostLeft = Math.max(this.figures.mostLeft, objectsOf(storage).length - needed.length);
      await this.#succeed('gc', name, '--keep-revisions=0', '--grace=0', '--unreferenced');
      assert.deepEqual(withoutHistories(objectsOf(storage)), needed);
      assert.deepEqual(readdirSync(join(storage, 'data/txn')), []);
    }
    const left = readdirSync(join(this.#config, 'repositories', FQRN));
    assert.deepEqual(
      left.filter((name) => /lock|condemned|\.db$|\.new$/.test(name)),
      [],
    );
    await this.#assertWhole();
  }

  // ---- commands ----

  #choose(): Kind {
    const number = this.#random(10);
    return number < 5 ? 'publish' : number < 7 ? 'gc' : number < 9 ? 'replicate' : 'gc-replica';
  }

  #command(kind: Kind): string[] {
    const gc = [`--keep-revisions=${this.#random(3)}`, '--grace=0'];
    const more = this.#random(3) === 0 ? ['--unreferenced'] : [];
    switch (kind) {
      case 'publish':
        return ['publish', FQRN, this.#tree];
      case 'replicate':
        return ['replicate', this.#storage, this.#replica, '--history', `--key=${this.#key}`];
      case 'gc':
        return ['gc', FQRN, ...gc, ...more];
      case 'gc-replica':
        return ['gc', this.#replica, ...gc, ...more];
    }
  }

  /** The next run ends well, and tells what is usual. */
  async #again(kind: Kind): Promise<void> {
    const countFile = join(this.#options.scratch, 'count');
    rmSync(countFile, { force: true });
    const startedMs = performance.now();
    const outcome = await this.#thimble(this.#command(kind), { CRASH_COUNT: countFile });
    assert.equal(outcome.status, 0, outcome.stderr);
    const operations = existsSync(countFile) ? Number(readFileSync(countFile, 'utf8')) : 0;
    this.#usual.set(kind, {
      ms: performance.now() - startedMs,
      // A run that has little to do does less than one that is killed.
      operations: Math.max(operations, this.#usual.get(kind)?.operations ?? GUESSED.operations),
    });
  }

  async #succeed(...args: string[]): Promise<void> {
    const { status, stderr } = await thimble([...args, '--config', this.#config]);
    assert.equal(status, 0, stderr);
  }

  #thimble(args: readonly string[], env: Record<string, string>): Promise<Outcome> {
    return thimble([...args, '--config', this.#config], {
      env: { NODE_OPTIONS: `--import=${CRASH_POINT}`, ...env },
    });
  }

  // ---- killing ----

  #howToKill(kind: Kind): { readonly text: string; readonly ms?: number; readonly operation?: number } {
    const { ms, operations } = this.#usual.get(kind) ?? GUESSED;
    if (this.#random(2) === 0) {
      const operation = 1 + this.#random(operations);
      return { text: `at operation ${operation}`, operation };
    }
    // Starting takes a third of it, and does nothing that could go wrong.
    const afterMs = Math.round(ms * (0.3 + this.#random(1000) / 1250));
    return { text: `after ${afterMs} ms`, ms: afterMs };
  }

  async #kill(args: readonly string[], how: { ms?: number; operation?: number }): Promise<Outcome> {
    if (how.operation !== undefined) return this.#thimble(args, { CRASH_AT: String(how.operation) });
    const child = startThimble([...args, '--config', this.#config]);
    let stderr = '';
    child.stderr!.on('data', (text: Buffer) => {
      stderr += String(text);
    });
    child.stdout!.resume();
    child.stdin!.end();
    const timer = setTimeout(() => child.kill('SIGKILL'), Math.min(how.ms ?? 0, TIMEOUT_MS));
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
    clearTimeout(timer);
    return { status, stdout: '', stderr };
  }

  #count(kind: Kind, { status }: Outcome): void {
    if (status === null) this.figures.killed++;
    if (kind === 'publish') this.figures.publishes++;
    else if (kind === 'replicate') this.figures.replications++;
    else this.figures.collections++;
  }

  // ---- what has to hold ----

  async #assertWhole(): Promise<void> {
    for (const storage of [this.#storage, this.#replica]) await assertSound(storage, this.#key);
    // Replication takes each catalog for whole that is there.
    const paths = objectsOf(this.#replica);
    const present = new Set(paths);
    const catalogs = paths
      .filter((path) => path.endsWith('C'))
      .map((path) => path.replace(/^data\/(..)\/(.*)C$/, '$1$2') as ContentHash);
    for (const path of neededObjects(this.#replica, catalogs)) assert.ok(present.has(path), path);
  }

  // ---- the tree ----

  #changeTree(): void {
    const name = join(this.#tree, FOLDERS[this.#random(FOLDERS.length)]!, `file-${this.#random(12)}`);
    if (this.#random(4) === 0) rmSync(name, { force: true });
    // Few seeds: contents come back, in other places and later.
    else writeFileSync(name, noise(this.#random(5) * 7000 + 10, 1 + this.#random(20)));
  }
}

/** Those of younger changes than the oldest revision that stays are kept. */
function withoutHistories(paths: readonly string[]): string[] {
  return paths.filter((path) => !path.endsWith('H'));
}
