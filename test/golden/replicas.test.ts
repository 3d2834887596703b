/** Replicas of the repositories of the reference implementation. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fixtureManifest, fixturePath, unpackFixture } from '../support/fixtures.ts';
import { faultsOf, replicate } from '../support/replica.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimbleJson } from '../support/thimble.ts';

interface Dump {
  readonly fqrn: string;
  readonly revision: number;
  readonly root_hash: string;
  readonly entries: readonly unknown[];
}

interface Check {
  readonly findings: readonly unknown[];
  readonly complete: boolean;
}

describe('replicas of repositories of the reference implementation', () => {
  for (const name of ['basic', 'shake128', 'nocompress', 'overlay', 'history', 'external']) {
    test(`a replica of ${name} dumps as the original does, and is sound`, async (t) => {
      const scratch = memoryScratch(t);
      const manifest = fixtureManifest(name);
      const publicKey = fixturePath(`${name}/${manifest.fqrn}.pub`);
      const original = { storage: unpackFixture(name, scratch), publicKey };
      const folder = join(scratch, 'replica', manifest.fqrn);
      const report = await replicate(original, folder, { withTags: true });
      assert.deepEqual(
        [report.fqrn, report.rootCatalog, String(report.revision), report.skipped],
        [manifest.fqrn, manifest.root_hash, manifest.revision, []],
      );
      assert.deepEqual(faultsOf(folder), []);
      const dump = (storage: string) => thimbleJson<Dump>(['dump', storage, '--key', publicKey]);
      const [ours, theirs] = [await dump(folder), await dump(original.storage)];
      assert.deepEqual(ours, theirs);
      assert.equal(ours.entries.length, manifest.entries.length);
      const check = await thimbleJson<Check>(['check', folder, '--key', publicKey, '--data', '--all-tags']);
      assert.deepEqual([check.findings, check.complete], [[], true]);
    });
  }
});
