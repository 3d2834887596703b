/** What is written out in each format is read back as it was published, except for what the format cannot hold. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createReadStream, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { childrenArbitrary, entriesOf } from '../../test/support/arbitrary-tree.ts';
import { type Described, describeTree } from '../../test/support/described-tree.ts';
import { snapshotTree } from '../../test/support/exported.ts';
import { memoryTree } from '../../test/support/memory-tree.ts';
import { needs } from '../../test/support/needs.ts';
import { type PublisherRepository, publisherRepository } from '../../test/support/publisher-repository.ts';
import { makeRandomTree, randomTree } from '../../test/support/random-tree.ts';
import { memoryScratch, mountsBelow } from '../../test/support/scratch.ts';
import type { Tree } from '../core/tree.ts';
import { FolderTree } from '../publish/folder-tree.ts';
import { OciTree } from '../publish/oci-tree.ts';
import { TarTree } from '../publish/tar-tree.ts';
import { type ExportFormat, type ExportReport, exportTree } from './export-tree.ts';

const RUNS = 8;

type Change = (path: string, described: Described) => Described | undefined;

const isSocket = ({ mode }: Described) => Number.parseInt(mode, 8) >> 12 === 0o14;
const same: Change = (_, described) => described;
const withoutSockets: Change = (_, described) => (isSocket(described) ? undefined : described);
// Before version 4.6, of the root only the mode is kept.
const wholeSeconds: Change = (path, described) =>
  path === ''
    ? { ...described, mtime: '', owner: '' }
    : { ...described, mtime: described.mtime.replace(/\+.*/, '+0') };

interface Format {
  readonly format: ExportFormat;
  /** What becomes of an entry. */
  readonly keeps: Change;
  /** An error that is right for some trees. */
  readonly refuses?: RegExp;
  /** What it is read back as. */
  open(output: string, folder: string): Promise<Tree> | Tree;
}

function mountImage(image: string, folder: string): Tree {
  mkdirSync(folder);
  execFileSync('mount', ['-o', 'loop,ro', image, folder]);
  return new FolderTree(folder);
}

const FORMATS: readonly Format[] = [
  { format: 'dir', keeps: same, open: (output) => new FolderTree(output) },
  { format: 'tar', keeps: withoutSockets, open: (output) => new TarTree(createReadStream(output), output) },
  { format: 'oci', keeps: withoutSockets, open: (output) => OciTree.open(output) },
  { format: 'squashfs', keeps: wholeSeconds, open: mountImage },
  // Before version 1.7.
  { format: 'erofs', keeps: same, refuses: /is too long for this mkfs\.erofs/, open: mountImage },
];

function exported(tree: Tree, format: ExportFormat, output: string): Promise<ExportReport> {
  return exportTree(tree, { format, output, fqrn: 'tree.example.org', rootHash: 'hash', path: '/' });
}

function changed(described: ReadonlyMap<string, Described>, change: Change): Map<string, Described> {
  const pairs = [...described].map(([path, one]) => [path, change(path, one)] as const);
  return new Map(pairs.filter((pair): pair is [string, Described] => pair[1] !== undefined));
}

async function assertComesBack(
  t: TestContext,
  repository: PublisherRepository,
  scratch: string,
  { format, keeps, refuses, open }: Format,
): Promise<void> {
  const [output, folder] = [join(scratch, 'output'), join(scratch, 'mounted')];
  try {
    await exported(await snapshotTree(t, repository), format, output);
    const expected = changed(await describeTree(await snapshotTree(t, repository)), keeps);
    assert.deepEqual(changed(await describeTree(await open(output, folder)), keeps), expected);
  } catch (error) {
    if (refuses === undefined || !refuses.test(String(error))) throw error;
  } finally {
    for (const mountpoint of mountsBelow(folder)) execFileSync('umount', [mountpoint]);
    for (const path of [output, folder]) rmSync(path, { recursive: true, force: true });
  }
}

describe('a snapshot comes back from', () => {
  for (const format of FORMATS) {
    const wanted =
      format.format === 'squashfs' || format.format === 'erofs' ? ([format.format] as const) : [];
    test(
      `format ${format.format}, for any tree that a disk can hold`,
      needs('root', ...wanted),
      async (t) => {
        const scratch = memoryScratch(t);
        const repository = await publisherRepository(scratch);
        const source = join(scratch, 'source');
        await fc.assert(
          fc.asyncProperty(randomTree, async (tree) => {
            rmSync(source, { recursive: true, force: true });
            makeRandomTree(source, tree);
            await repository.publish(new FolderTree(source));
            await assertComesBack(t, repository, scratch, format);
          }),
          { numRuns: RUNS },
        );
      },
    );
  }

  for (const format of FORMATS.filter(({ format }) => format === 'tar' || format === 'oci')) {
    test(`format ${format.format}, for any tree at all`, async (t) => {
      const scratch = memoryScratch(t);
      const repository = await publisherRepository(scratch);
      await fc.assert(
        fc.asyncProperty(childrenArbitrary, async (children) => {
          await repository.publish(memoryTree(entriesOf(children)));
          await assertComesBack(t, repository, scratch, format);
        }),
        { numRuns: RUNS },
      );
    });
  }
});
