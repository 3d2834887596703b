import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  constants,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { needs } from '../support/needs.ts';
import { transactionScene } from '../support/transaction-scene.ts';
import { dir, file, hardlink, readTree, type SeenEntry } from '../support/trees.ts';

const RUNS = 6;
const MAX_STEPS = 40;

const TREE = dir({
  a: dir({
    '.cvmfscatalog': file(''),
    x: file('x'),
    y: hardlink('a/x'),
    deep: dir({ '.cvmfscatalog': file(''), f: file('f'), g: hardlink('a/deep/f'), h: file('h') }),
  }),
  b: dir({ x: file('x'), y: file('y'), z: hardlink('b/y'), empty: dir({}) }),
  c: file('c'),
});

/** Which two paths and which number a step works with depends on what is there then. */
interface Step {
  readonly action: keyof typeof ACTIONS;
  readonly from: number;
  readonly to: number;
  readonly number: number;
}

interface Place {
  readonly folder: string;
  /** Something that is there, and something that may be there. */
  readonly path: string;
  readonly other: string;
  readonly number: number;
}

/** A FIFO that nobody reads is an error at once; without this, the test would wait for ever. */
const { O_APPEND, O_CREAT, O_NONBLOCK, O_TRUNC, O_WRONLY } = constants;
const WRITE = { flag: (O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK) as unknown as string };
const APPEND = { flag: (O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK) as unknown as string };

/** What happens is the same wherever the same tree is; what cannot be done there fails in the same way. */
const ACTIONS = {
  write: ({ other, number }: Place) => writeFileSync(other, `new ${number}`, WRITE),
  append: ({ path, number }: Place) => appendFileSync(path, ` ${number}`, APPEND),
  truncate: ({ path, number }: Place) => truncateSync(path, number % 3),
  unlink: ({ path }: Place) => unlinkSync(path),
  remove: ({ folder, path }: Place) => {
    if (path !== folder) rmSync(path, { recursive: true });
  },
  mkdir: ({ other }: Place) => mkdirSync(other),
  rename: ({ path, other }: Place) => {
    const stats = lstatSync(path);
    if (stats.isDirectory()) execFileSync('mv', ['-T', path, other], { stdio: 'ignore' });
    // Repositories keep links within a folder.
    else renameSync(path, stats.nlink > 1 ? join(dirname(path), basename(other)) : other);
  },
  // Links of symlinks and special files become entries of their own.
  link: ({ path, number }: Place) => {
    if (lstatSync(path).isFile()) linkSync(path, join(dirname(path), `l${number % 9}`));
  },
  symlink: ({ other, number }: Place) => symlinkSync(`target-${number}`, other),
  fifo: ({ other }: Place) => execFileSync('mkfifo', [other], { stdio: 'ignore' }),
  chmod: ({ path, number }: Place) => chmodSync(path, 0o700 | (number & 0o77)),
  chown: ({ path, number }: Place) => chownSync(path, number, number),
  touch: ({ path, number }: Place) => lutimesSync(path, number, number),
  catalog: ({ other }: Place) => writeFileSync(join(dirname(other), '.cvmfscatalog'), '', WRITE),
  attribute: ({ path, number }: Place) =>
    execFileSync('setfattr', ['-n', 'user.note', '-v', `${number}`, path], { stdio: 'ignore' }),
} satisfies Record<string, (place: Place) => void>;

const steps = fc.array(
  fc.record<Step>({
    action: fc.constantFrom(...(Object.keys(ACTIONS) as (keyof typeof ACTIONS)[])),
    from: fc.nat(1000),
    to: fc.nat(1000),
    number: fc.nat(999),
  }),
  { minLength: 5, maxLength: MAX_STEPS },
);

/** True if it could be done. */
function take({ action, from, to, number }: Step, folder: string, paths: readonly string[]): boolean {
  const path = folder + paths[from % paths.length]!;
  const near = paths[to % paths.length]!;
  // Something that is there, or something new beside it.
  const other = join(folder, to % 2 === 0 || near === '' ? join(dirname(near), `n${number % 7}`) : near);
  // Markers of catalogs are regular files, and there is none in the root.
  if (action === 'catalog' && dirname(other) === folder) return false;
  if (action === 'rename' && basename(other) === '.cvmfscatalog') return false;
  // The kernel refuses, and mv finds out only when it copies.
  if (action === 'rename' && other.startsWith(`${path}/`)) return false;
  try {
    ACTIONS[action]({ folder, path, other, number });
    return true;
  } catch {
    return false;
  }
}

/** Steps are taken one after the other in both places, so times differ; links in other folders cannot arise. */
function withoutTimes(tree: Map<string, SeenEntry>): Map<string, SeenEntry> {
  return new Map([...tree].map(([path, entry]) => [path, { ...entry, mtimeNs: '' }]));
}

test('any sequence of steps gives what it gives in a plain folder', needs('fuse', 'attr'), async (t) => {
  const scene = await transactionScene(t, TREE);
  const { source, folder } = scene;
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      await scene.begin();
      const taken: string[] = [];
      for (const step of sequence) {
        const paths = [...readTree(source).keys()];
        const isDone = take(step, source, paths);
        assert.equal(take(step, folder, paths), isDone, `${taken.join()} ${JSON.stringify(step)}`);
        taken.push(step.action);
      }
      const shown = readTree(folder);
      assert.deepEqual(withoutTimes(shown), withoutTimes(readTree(source)));
      await scene.publish();
      assert.deepEqual(await scene.readPublished(), shown);
      const { status, stdout } = await scene.run('check', scene.repository.storage, '--data');
      assert.equal(status, 0, stdout);
    }),
    // Each run goes on from what the last one has published.
    { numRuns: RUNS, endOnFailure: true },
  );
});
