/**
 * A mount in which a million entries have been listed: what its server keeps in memory, cold, with the cache that a mount has left,
 * and while the kernel forgets; and how long readers wait when it is killed then.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startNginx } from '../test/support/web-servers.ts';
import { MountUnderTest } from './mount-under-test.ts';
import type { Bar, Figures } from './report.ts';
import { publishSoakTree, SOAK_FQRN } from './soak-tree.ts';

export const millionBars: Readonly<Record<string, Bar>> = {
  millionColdMB: { atMost: 150 },
  millionAgainMB: { atMost: 150 },
  millionForgottenMB: { atMost: 150 },
  millionTakenOverMB: { atMost: 150 },
  millionTakeOverSeconds: { atMost: 1 },
  millionReadErrors: { atMost: 0 },
};

const ENTRIES = 1_000_000;
/** What is garbage by then has been collected. */
const SETTLE_MS = 2000;
const READER = new URL('./soak-reader.ts', import.meta.url).pathname;

/** As root: the kernel is made to forget. */
export async function runMillion(): Promise<Figures> {
  const folder = mkdtempSync(join(tmpdir(), 'thimble-million-'));
  const stop: (() => unknown)[] = [];
  const mount = new MountUnderTest(folder);
  try {
    const folders = await publishSoakTree(folder, ENTRIES);
    const storage = join(folder, SOAK_FQRN);
    const address = await startNginx(
      { after: (end) => void stop.push(end as () => unknown) },
      SOAK_FQRN,
      storage,
    );
    const key = join(folder, 'config', 'repositories', SOAK_FQRN, `${SOAK_FQRN}.pub`);
    const options = ['--key', key, '--cache', join(folder, 'cache')];
    await mount.mount(address, options);
    stop.push(() => mount.unmount().catch(() => {}));
    const fresh = await memoryOf(mount);
    const cold = await listed(mount);
    await mount.unmount();
    await mount.mount(address, options);
    const again = await listed(mount);
    writeFileSync('/proc/sys/vm/drop_caches', '2');
    const forgotten = await memoryOf(mount);
    return {
      millionEntries: cold.entries,
      millionFreshMB: fresh,
      millionColdListSeconds: cold.seconds,
      millionColdMB: cold.megabytes,
      millionColdPeakMB: cold.peakMB,
      millionAgainListSeconds: again.seconds,
      millionAgainMB: again.megabytes,
      millionForgottenMB: forgotten,
      ...(await takeOver(mount, folders)),
      millionDescriptors: mount.sample().descriptors,
    };
  } finally {
    for (const end of stop.reverse()) await end();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function memoryOf(mount: MountUnderTest): Promise<number> {
  await sleep(SETTLE_MS);
  return mount.sample().residentBytes / 1e6;
}

async function listed(mount: MountUnderTest) {
  const startedMs = performance.now();
  const entries = await mount.list();
  const seconds = (performance.now() - startedMs) / 1000;
  return { entries, seconds, megabytes: await memoryOf(mount), peakMB: mount.peakBytes() / 1e6 };
}

/** While somebody reads. */
async function takeOver(mount: MountUnderTest, folders: number): Promise<Figures> {
  const reader = spawn(process.execPath, [READER, mount.mountpoint, String(folders), '1'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const output = new Promise<string>((resolve) =>
    reader.stdout.once('data', (data) => resolve(String(data))),
  );
  await sleep(SETTLE_MS);
  const milliseconds = await mount.killServer();
  const megabytes = await memoryOf(mount);
  reader.kill('SIGTERM');
  const { errors, slowestMs } = JSON.parse(await output) as { errors: number; slowestMs: number };
  return {
    millionTakeOverSeconds: milliseconds / 1000,
    millionTakenOverMB: megabytes,
    millionSlowestReadSeconds: slowestMs / 1000,
    millionReadErrors: errors,
  };
}
