import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { openClient } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { publishSmallTree } from '../../test/support/small-tree.ts';
import { objectsOf, readManifest } from '../../test/support/storage-place.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeClock, nodeRandom } from '../node/clock.ts';
import { FolderSource } from '../node/folder-source.ts';
import { nodeHashing } from '../node/hashing.ts';
import { ObjectCheckPool } from '../node/object-check-pool.ts';
import { FolderStorage } from '../storage/folder-storage.ts';
import { type CheckReport, checkRepository } from './check-repository.ts';
import { Servers } from './network/servers.ts';
import type { Source } from './network/source.ts';
import { type RepairPlace, ReplicaRepair } from './repair.ts';

const scope = fileScope();
const published = await publishSmallTree(scope);
const { storage } = published;
const replica = join(scratchFolder(scope), 'replica');
cpSync(storage, replica, { recursive: true });
const address = { fqrn: published.fqrn, servers: [storage], proxies: [], keyFiles: [] };
const pool = new ObjectCheckPool(address, 1);
scope.after(() => pool.close());

function repairFrom(
  sources: readonly Source[],
  { isDryRun = false, place = new FolderStorage(storage) as RepairPlace } = {},
): ReplicaRepair {
  const servers = new Servers(sources, { clock: nodeClock, random: nodeRandom }, { rounds: 1 });
  return new ReplicaRepair(servers, place, { hashing: nodeHashing, isDryRun });
}

function check(repair: ReplicaRepair): Promise<CheckReport> {
  const { repository } = openClient(published, { retries: { rounds: 1 } });
  return checkRepository(repository, {
    selection: {},
    allTags: true,
    hashing: nodeHashing,
    isLocal: true,
    objects: pool,
    repair,
  });
}

/** Each way in which an object can be bad. */
const DAMAGES: readonly (readonly [string, (file: string) => void])[] = [
  ['missing', (file) => rmSync(file)],
  ['changed', (file) => writeFileSync(file, readFileSync(file).reverse())],
  ['empty', (file) => writeFileSync(file, '')],
  [
    'unreadable',
    (file) => {
      rmSync(file);
      mkdirSync(file);
    },
  ],
];

const { history } = readManifest(storage);
const OBJECTS = objectsOf(storage).filter((path) => !path.endsWith('H') || path.includes(history!.slice(2)));

describe('checkRepository() with a replica to repair from', () => {
  for (const [index, path] of OBJECTS.entries()) {
    const [what, damage] = DAMAGES[index % 3]!;
    test(`makes object ${index} whole that is ${what}, whatever it is`, async () => {
      const file = join(storage, path);
      damage(file);
      const report = await check(repairFrom([new FolderSource(replica)]));
      assert.deepEqual(report.findings, []);
      assert.equal(report.repairedTotal, 1, JSON.stringify(report.repaired));
      assert.match(report.repaired[0]!.message, /; repaired from .*replica$/);
      assert.deepEqual(readFileSync(file), readFileSync(join(replica, path)));
      const again = await check(repairFrom([new FolderSource(replica)]));
      assert.deepEqual([again.findings, again.repairedTotal], [[], 0]);
    });
  }

  test('makes all of them whole at once', async () => {
    for (const path of OBJECTS) rmSync(join(storage, path));
    const report = await check(repairFrom([new FolderSource(replica)]));
    assert.deepEqual(report.findings, []);
    assert.equal(report.repairedTotal, OBJECTS.length);
  });
});

const DATA = OBJECTS.find((path) => path.endsWith('P'))!;

async function whileDamaged<T>(damage: (file: string) => void, look: () => Promise<T>): Promise<T> {
  const file = join(storage, DATA);
  try {
    damage(file);
    return await look();
  } finally {
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, readFileSync(join(replica, DATA)));
  }
}

test('a dry run says what could be repaired, writes nothing, and keeps the finding', async () => {
  await whileDamaged(rmSync, async () => {
    const report = await check(repairFrom([new FolderSource(replica)], { isDryRun: true }));
    assert.deepEqual([report.findingsTotal, report.repairedTotal], [1, 1]);
    assert.match(report.repaired[0]!.message, /; sound from .*replica$/);
    assert.equal(objectsOf(storage).includes(DATA), false);
  });
});

test('ReplicaRepair takes no damaged object: the next replica is asked, and the finding says why it stays', async (t) => {
  const damaged = join(scratchFolder(t), 'damaged');
  cpSync(replica, damaged, { recursive: true });
  writeFileSync(join(damaged, DATA), 'not that');
  await whileDamaged(rmSync, async () => {
    const failed = await check(repairFrom([new FolderSource(damaged)]));
    assert.match(failed.findings[0]!.message, /; not repaired: data\/.* is damaged: its bytes hash to/);
    assert.equal(objectsOf(storage).includes(DATA), false);
    const both = await check(repairFrom([new FolderSource(damaged), new FolderSource(replica)]));
    assert.deepEqual([both.findings, both.repairedTotal], [[], 1]);
  });
});

test('ReplicaRepair leaves alone what has its hash: the catalog is wrong, not the object', async () => {
  const [, shard = '', rest = ''] = /^data\/(..)\/(.*)P$/.exec(DATA)!;
  const repair = repairFrom([new FolderSource(scratchFolder(scope))]);
  assert.deepEqual(await repair.repair((shard + rest) as never, 'P'), { kind: 'sound' });
});

test('the check ends where something stands in the way of an object', async () => {
  const [, damage] = DAMAGES[3]!;
  await whileDamaged(damage, async () => {
    // A folder stands in the way of a rename: that is for people to look at.
    await assert.rejects(check(repairFrom([new FolderSource(replica)])), { code: 'STORAGE' });
  });
});

test('the check ends when the storage cannot be written', async () => {
  const full: RepairPlace = {
    read: async () => undefined,
    replace: async () => {
      throw new ThimbleError('STORAGE', 'Cannot write: the disk is full');
    },
  };
  await whileDamaged(rmSync, async () => {
    await assert.rejects(check(repairFrom([new FolderSource(replica)], { place: full })), {
      code: 'STORAGE',
    });
  });
});

test('ReplicaRepair passes on what no replica and no storage is to blame for', async () => {
  const broken: Source = {
    name: 'broken',
    open: async () => {
      throw new TypeError('a defect');
    },
  };
  await whileDamaged(rmSync, async () => {
    await assert.rejects(check(repairFrom([broken])), /a defect/);
  });
});
