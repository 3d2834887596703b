import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { memoryScratch } from '../../test/support/scratch.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { parseFqrn } from '../core/fqrn.ts';
import { nodeClock } from '../node/clock.ts';
import { overlayAt, unmount } from '../node/overlay-mount.ts';
import { type ApplyTransaction, Transaction } from './transaction.ts';
import { writeTransactionState } from './transaction-state.ts';

const FQRN = parseFqrn('tx.example.org');
const BASE = 'a'.repeat(40) as ContentHash;
const NEXT = 'b'.repeat(40) as ContentHash;

interface Bench {
  readonly transaction: Transaction;
  readonly scratch: string;
  /** Of the publisher. */
  readonly folder: string;
  readonly mountpoint: string;
  published: ContentHash;
  begin(): Promise<unknown>;
}

/** The lower layer is a folder with one file, served by nobody. */
function openBench(t: TestContext): Bench {
  const scratch = memoryScratch(t);
  const folder = join(scratch, 'publisher');
  const mountpoint = join(scratch, 'tree');
  const base = join(scratch, 'base');
  for (const one of [folder, base]) mkdirSync(one);
  writeFileSync(join(base, 'file'), 'published');
  const bench: Bench = {
    scratch,
    folder,
    mountpoint,
    published: BASE,
    transaction: new Transaction(FQRN, folder, {
      clock: nodeClock,
      mountLower: async ({ mountpoint: lower }) => {
        spawnSync('mount', ['--bind', base, lower]);
        return { pid: process.pid, rootCatalog: BASE, revision: 7 };
      },
      namesOf: async () => [],
      publishedRoot: async () => bench.published,
    }),
    begin: () => bench.transaction.begin({ mountpoint }),
  };
  return bench;
}

/** Paths that would be published. */
async function pathsOf({ changes }: ApplyTransaction): Promise<string[]> {
  const paths: string[] = [];
  for await (const change of changes.changes()) {
    paths.push(change.kind === 'put' ? change.entry.path : `${change.kind} ${change.path}`);
  }
  return paths;
}

const publishPaths = async (given: ApplyTransaction) => ({
  paths: await pathsOf(given),
  base: given.expectedRoot,
});

/** Nothing is left but what was there before. */
function assertEnded({ transaction, folder, mountpoint }: Bench): void {
  assert.equal(transaction.status(), undefined);
  assert.equal(overlayAt(mountpoint), undefined);
  assert.equal(existsSync(mountpoint), false, 'the mount point was made for it');
  assert.deepEqual(readdirSync(folder), []);
}

/** A process with its working folder there, and perhaps a file open for writing. */
async function occupy(t: TestContext, folder: string, file?: string): Promise<number> {
  const script = file === undefined ? 'echo; read x' : `exec 3>>${file}; echo; read x`;
  const child = spawn('sh', ['-c', script], { cwd: file === undefined ? folder : '/', stdio: 'pipe' });
  t.after(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return child.pid!;
}

describe('Transaction', needs('root'), () => {
  test('shows the published tree, writable, and hands what was changed to the publisher', async (t) => {
    const bench = openBench(t);
    const { transaction, mountpoint } = bench;
    await bench.begin();
    assert.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), 'published');
    writeFileSync(join(mountpoint, 'new'), 'x');
    const status = transaction.status()!;
    assert.deepEqual([status.mounted, status.revision, status.rootCatalog], [true, 7, BASE]);
    const { paths, base, users } = await transaction.apply(publishPaths);
    assert.deepEqual([paths, base, users], [['', '/new'], BASE, []]);
    assertEnded(bench);
  });

  test('is open once: a second one is told who has it, since when and where', async (t) => {
    const bench = openBench(t);
    await bench.begin();
    await assert.rejects(bench.begin(), (error: Error & { code: string }) => {
      assert.equal(error.code, 'CONFLICT');
      assert.match(error.message, /has one open since 2\d{3}-\d\d-\d\dT[\d:]+Z, at .*\/tree$/);
      return true;
    });
  });

  test('without one there is nothing to publish, resume or abort', async (t) => {
    const { transaction } = openBench(t);
    const none = { code: 'NOT_FOUND', message: /none is open/ };
    await assert.rejects(transaction.apply(publishPaths), none);
    await assert.rejects(transaction.resume(), none);
    await assert.rejects(transaction.abort(), none);
    assert.throws(() => transaction.changes(), none);
  });

  test('stays open and writable when publishing fails', async (t) => {
    const { transaction, mountpoint, begin } = openBench(t);
    await begin();
    const failing = transaction.apply(async () => {
      assert.throws(() => writeFileSync(join(mountpoint, 'late'), ''), { code: 'EROFS' });
      throw new Error('disk full');
    });
    await assert.rejects(failing, /disk full/);
    writeFileSync(join(mountpoint, 'after'), '');
    assert.deepEqual((await transaction.apply(publishPaths)).paths, ['', '/after']);
  });

  test('is not published while files are open for writing, except by force', async (t) => {
    const bench = openBench(t);
    const { transaction, mountpoint, begin } = bench;
    await begin();
    const pid = await occupy(t, mountpoint, join(mountpoint, 'log'));
    const message = new RegExp(`open for writing: .*/log by sh \\(${pid}\\)`);
    await assert.rejects(transaction.apply(publishPaths), { code: 'CONFLICT', message });
    const { paths, users } = await transaction.apply(publishPaths, { force: true });
    assert.deepEqual(paths, ['', '/log']);
    assert.deepEqual(
      users.map((user) => user.pid),
      [pid],
    );
    assertEnded(bench);
  });

  test('what was published before a crash is not published again', async (t) => {
    const bench = openBench(t);
    const { transaction } = bench;
    await bench.begin();
    const crashing = async ({ beforeCommit }: ApplyTransaction) => {
      beforeCommit(NEXT);
      throw new Error('crash');
    };
    await assert.rejects(transaction.apply(crashing), /crash/);
    // The manifest was not replaced: all of it is to be published.
    assert.equal(transaction.status()?.publishing, NEXT);
    await assert.rejects(
      transaction.apply(async (given) => {
        assert.equal(given.expectedRoot, BASE);
        return crashing(given);
      }),
      /crash/,
    );
    bench.published = NEXT;
    const { paths, base } = await transaction.apply(publishPaths);
    assert.deepEqual([paths, base], [[], NEXT]);
    assertEnded(bench);
  });

  test('is published when its mounts are gone', async (t) => {
    const bench = openBench(t);
    await bench.begin();
    writeFileSync(join(bench.mountpoint, 'new'), 'x');
    unmount(bench.mountpoint);
    assert.equal(bench.transaction.status()!.mounted, false);
    assert.deepEqual((await bench.transaction.apply(publishPaths)).paths, ['', '/new']);
    assertEnded(bench);
  });

  test('resume() brings the mounts back, with all that was changed', async (t) => {
    const { transaction, mountpoint, begin } = openBench(t);
    await begin();
    writeFileSync(join(mountpoint, 'file'), 'changed');
    unmount(mountpoint);
    assert.equal(existsSync(join(mountpoint, 'file')), false);
    await transaction.resume();
    assert.equal(readFileSync(join(mountpoint, 'file'), 'utf8'), 'changed');
    await transaction.resume();
    writeFileSync(join(mountpoint, 'new'), 'x');
    assert.deepEqual((await transaction.apply(publishPaths)).paths, ['', '/file', '/new']);
  });

  test('abort() gives everything up; a folder in use is named, and goes by force', async (t) => {
    const bench = openBench(t);
    const { transaction, mountpoint } = bench;
    await bench.begin();
    const pid = await occupy(t, mountpoint);
    const message = new RegExp(`in use by sh \\(${pid}\\)`);
    await assert.rejects(transaction.abort(), { code: 'CONFLICT', message });
    assert.equal(transaction.status()!.mounted, true);
    const { users } = await transaction.abort({ force: true });
    assert.deepEqual(
      users.map((user) => user.pid),
      [pid],
    );
    assert.equal(overlayAt(mountpoint), undefined);
    await bench.begin();
    assert.deepEqual(readdirSync(mountpoint), ['file']);
    await transaction.abort();
    assertEnded(bench);
  });

  test('what an interrupted end left is cleared away by the next command', async (t) => {
    const bench = openBench(t);
    await bench.begin();
    writeFileSync(join(bench.mountpoint, 'old'), 'x');
    const { mounted: _, ...state } = bench.transaction.status()!;
    writeTransactionState(join(bench.folder, 'transaction.json'), { ...state, phase: 'ended' });
    await assert.rejects(bench.transaction.apply(publishPaths), { code: 'NOT_FOUND' });
    await bench.begin();
    assert.deepEqual(readdirSync(bench.mountpoint), ['file']);
    await bench.transaction.abort();
    assertEnded(bench);
  });

  test('the root directory keeps its attributes', async (t) => {
    const { transaction, mountpoint, folder, begin } = openBench(t);
    await begin();
    const lower = statSync(join(folder, 'transaction/lower'), { bigint: true });
    const shown = statSync(mountpoint, { bigint: true });
    assert.deepEqual([shown.mode, shown.mtimeNs], [lower.mode, lower.mtimeNs]);
    await transaction.abort();
  });
});

describe('where a transaction can be', needs('root'), () => {
  test('not on a folder with files, nor on another mount', async (t) => {
    const { transaction, scratch } = openBench(t);
    const full = join(scratch, 'full');
    mkdirSync(full);
    writeFileSync(join(full, 'file'), '');
    await assert.rejects(transaction.begin({ mountpoint: full }), {
      code: 'USAGE',
      message: /not an empty folder/,
    });
    await assert.rejects(transaction.begin({ mountpoint: scratch }), {
      code: 'CONFLICT',
      message: /is mounted there/,
    });
  });

  test('changes that belong to no transaction are not touched', async (t) => {
    const { folder, begin } = openBench(t);
    const upper = join(folder, 'transaction/upper');
    mkdirSync(upper, { recursive: true });
    writeFileSync(join(upper, 'precious'), '');
    await assert.rejects(begin(), { code: 'CONFLICT', message: /belong to no open transaction/ });
    assert.deepEqual(readdirSync(upper), ['precious']);
  });

  test('layers that cannot be made are told of', async (t) => {
    const { transaction, mountpoint, scratch } = openBench(t);
    writeFileSync(join(scratch, 'file'), '');
    const begun = transaction.begin({ mountpoint, scratch: join(scratch, 'file') });
    await assert.rejects(begun, { code: 'STORAGE', hint: /--scratch/ });
  });

  for (const [what, type, options, code] of [
    ['another overlay', 'overlay', 'lowerdir=/usr:/etc', 'STORAGE'],
    ['a file system without attributes', 'ramfs', 'mode=755', 'UNSUPPORTED'],
  ] as const) {
    test(`not in ${what}: the hint names --scratch, and nothing stays behind`, async (t) => {
      const bench = openBench(t);
      const { transaction, mountpoint, scratch } = bench;
      const place = join(scratch, 'place');
      mkdirSync(place);
      const layers = type === 'overlay' ? overlayOptions(scratch) : options;
      assert.equal(spawnSync('mount', ['-t', type, '-o', layers, 'test', place]).status, 0);
      const begun = transaction.begin({ mountpoint, scratch: place });
      await assert.rejects(begun, { code, hint: /--scratch/ });
      assertEnded(bench);
      assert.deepEqual(
        readdirSync(place).filter((name) => name.startsWith('thimble')),
        [],
      );
      await transaction.begin({ mountpoint, scratch: join(scratch, 'other') });
      assert.ok(existsSync(join(scratch, `other/thimble-${FQRN}/upper`)));
      await transaction.abort();
    });
  }

  test('a state file that nobody understands is refused', async (t) => {
    const { transaction, folder } = openBench(t);
    const path = join(folder, 'transaction.json');
    writeFileSync(path, '{"version":2}');
    assert.throws(() => transaction.status(), { code: 'FORMAT', message: /does not describe a transaction/ });
  });
});

/** A writable overlay in memory. */
function overlayOptions(scratch: string): string {
  const [lower, upper, work] = ['l', 'u', 'w'].map((name) => join(scratch, name));
  for (const folder of [lower, upper, work]) mkdirSync(folder!);
  return `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
}
