/** What every `Source` keeps to: the files of a repository, whole and in order, absent ones as NOT_FOUND. */

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Source } from '../../src/client/network/source.ts';
import { readWhole } from '../../src/client/objects.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { scratchFolder } from '../support/scratch.ts';

export const SOURCE_FILES = {
  '.cvmfspublished': Buffer.from('a manifest'),
  [`data/00/${'0'.repeat(38)}`]: Buffer.from('an object'),
  [`data/11/${'1'.repeat(38)}-shake128P`]: Buffer.alloc(3_000_001, 'a large object, and '),
  [`data/22/${'2'.repeat(38)}C`]: Buffer.alloc(0),
} as const;

const [MANIFEST, OBJECT, LARGE, EMPTY] = Object.keys(SOURCE_FILES) as [string, string, string, string];

/** A folder with these files in it, as a publisher's storage has them. */
export function sourceFolder(t: Pick<TestContext, 'after'>): string {
  const folder = scratchFolder(t);
  for (const [path, content] of Object.entries(SOURCE_FILES)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

export const openOptions = (noCache = false) => ({ deadlineMs: nodeClock.monotonicMs() + 10_000, noCache });

export function testSource(
  name: string,
  open: (t: TestContext) => Promise<Source>,
  options: { skip: string | false } = { skip: false },
): void {
  for (const noCache of [false, true]) {
    test(`${name} gives every file whole${noCache ? ', also past caches' : ''}`, options, async (t) => {
      const source = await open(t);
      for (const [path, content] of Object.entries(SOURCE_FILES)) {
        const file = await source.open(path, openOptions(noCache));
        if (file.sizeBytes !== undefined) assert.equal(file.sizeBytes, content.length);
        const whole = Buffer.from(await readWhole(file, content.length));
        assert.ok(whole.equals(content), `${path} has its content`);
        assert.equal(await file.next(), undefined);
        file.close();
        file.close();
      }
    });
  }

  for (const [offset, length] of [
    [0, 1],
    [1_000_000, 1_500_000],
    [2_999_999, 2],
  ] as const) {
    test(`${name} gives ${length} bytes from ${offset}`, options, async (t) => {
      const source = await open(t);
      const file = await source.open(LARGE, { ...openOptions(), range: { offset, length } });
      const wanted = (SOURCE_FILES as Readonly<Record<string, Buffer>>)[LARGE]!.subarray(
        offset,
        offset + length,
      );
      if (file.sizeBytes !== undefined) assert.equal(file.sizeBytes, wanted.length);
      assert.ok(wanted.equals(await readWhole(file, length)));
      file.close();
    });
  }

  test(`${name} says whether files are there, and their sizes, without giving them`, options, async (t) => {
    const source = await open(t);
    const headOnly = { ...openOptions(), headOnly: true };
    // More than one over each connection: nothing of a body may be left on it.
    for (let round = 0; round < 3; round++) {
      for (const [path, content] of Object.entries(SOURCE_FILES)) {
        const file = await source.open(path, headOnly);
        if (file.sizeBytes !== undefined) assert.equal(file.sizeBytes, content.length);
        file.close();
      }
      await assert.rejects(source.open(`data/ff/${'f'.repeat(38)}`, headOnly), { code: 'NOT_FOUND' });
    }
    assert.equal(
      Buffer.from(await readWhole(await source.open(OBJECT, openOptions()), 100)).toString(),
      'an object',
    );
  });

  for (const [what, path] of [
    ['an object', `data/ff/${'f'.repeat(38)}`],
    ['a file at the top', '.cvmfswhitelist'],
    ['a file below a file', `${OBJECT}/x`],
  ] as const) {
    test(`${name} says NOT_FOUND for ${what} that is not there`, options, async (t) => {
      const source = await open(t);
      await assert.rejects(source.open(path, openOptions()), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'NOT_FOUND');
        assert.ok(error.message.includes(path) && error.message.includes(source.name));
        return true;
      });
    });
  }

  test(`${name} gives nothing more after close`, options, async (t) => {
    const source = await open(t);
    const file = await source.open(LARGE, openOptions());
    assert.ok((await file.next())!.length > 0);
    file.close();
    assert.equal(await file.next(), undefined);
    assert.equal(
      Buffer.from(await readWhole(await source.open(OBJECT, openOptions()), 100)).toString(),
      'an object',
    );
  });

  test(`${name} gives many files at once`, options, async (t) => {
    const source = await open(t);
    const paths = Array.from({ length: 60 }, (_, i) => [MANIFEST, OBJECT, LARGE, EMPTY][i % 4]!);
    const lengths = await Promise.all(
      paths.map(async (path) => {
        const file = await source.open(path, openOptions());
        try {
          return (await readWhole(file, 10_000_000)).length;
        } finally {
          file.close();
        }
      }),
    );
    assert.deepEqual(
      lengths,
      paths.map((path) => SOURCE_FILES[path]!.length),
    );
  });
}
