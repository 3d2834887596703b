/**
 * The main job, on real input: a Debian tree from a mirror, machines in QEMU. What the demo leaves behind is then used as
 * its user would: served again, booted with UEFI, booted with settings that cannot work.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, type TestContext, test } from 'node:test';
import type { DemoFigures } from '../../src/cli/demo-figures.ts';
import { LOGIN_PROMPT, Machine, type MachineOptions } from '../../src/vm/machine.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { startThimble, thimbleJson } from '../support/thimble.ts';

const FQRN = 'debian.thimble.example';
const MEGABYTE = 1_000_000;
const DEMO_MS = 900_000;
/** Software emulation; firmware makes it slower still. */
const BOOT_MS = 300_000;

describe('the demo', needs('fuse', 'qemu', 'mmdebstrap', 'xorriso', 'ovmf'), () => {
  let figures: DemoFigures;
  // Used by all tests below.
  const out = join(scratchFolder({ after }), 'out');

  test('publishes Debian, boots it, updates it, and goes back', async (t) => {
    figures = await thimbleJson<DemoFigures>(['demo', '--out', out], { timeoutMs: DEMO_MS });
    t.diagnostic(JSON.stringify(figures));
    assert.equal(figures.rootFileSystem, 'overlay over fuse');
    assert.equal(figures.systemState, 'running');
    const claims = [figures.updateSeen, figures.oldSnapshotSeen, figures.shutdownClean];
    assert.deepEqual(claims, [true, true, true]);
    assert.ok(figures.imageBytes <= 48 * MEGABYTE);
    assert.ok(figures.fetchedBytesToLogin <= 90 * MEGABYTE);
    assert.ok(figures.fetchedBytesToLogin <= 0.2 * figures.compressedTreeBytes);
    // A profile turns thousands of requests into a few.
    assert.ok(figures.requestsToLoginProfiled < 0.2 * figures.requestsToLogin);
    assert.ok(figures.fetchedBytesToLoginProfiled < 1.5 * figures.fetchedBytesToLogin);
    // With the cache disk only what changes is asked for: far less than a boot with nothing.
    assert.ok(figures.secondsToLoginWarm < figures.secondsToLoginCold);
  });

  test('the same snapshot gives the same image, byte for byte', async () => {
    const key = join(out, 'config/repositories', FQRN, `${FQRN}.pub`);
    const repository = `http://10.0.2.2:${portOf(figures)}/cvmfs/${FQRN}`;
    const args = ['--repo', repository, '--key', key, '--from', join(out, 'cvmfs', FQRN), '--tag', 'v1'];
    const hashes: string[] = [];
    for (const TZ of ['UTC', 'Asia/Tokyo']) {
      const output = join(out, `${hashes.length}.iso`);
      await thimbleJson(['image', 'build', ...args, '--output', output], { env: { TZ } });
      hashes.push(createHash('sha256').update(readFileSync(output)).digest('hex'));
    }
    assert.equal(hashes[0], hashes[1]);
  });

  test('boots with UEFI, without a disk, in 512 MB', async (t) => {
    await serveAgain(t);
    const machine = await start(t, { uefi: true, memoryMiB: 512, autologin: true });
    await machine.waitFor(LOGIN_PROMPT, BOOT_MS);
    await machine.waitForShell(BOOT_MS);
    assert.equal(await machine.shell('test -d /sys/firmware/efi && echo UEFI', BOOT_MS), 'UEFI');
    const upper = await machine.shell('awk \'$2 == "/run/initramfs/rw" { print $3 }\' /proc/mounts', BOOT_MS);
    assert.equal(upper, 'tmpfs');
    // A file that no boot needs arrives when it is asked for.
    assert.match(await machine.shell('apt-get --version | head -n 1', BOOT_MS), /^apt /);
  });

  test('a snapshot that does not exist: says so, and restarts', async (t) => {
    await serveAgain(t);
    const machine = await start(t, { settings: ['thimble.tag=v9'] });
    const from = await machine.waitFor(/no snapshot|Cannot [^\n]*v9/, BOOT_MS);
    await machine.waitFor(/hint: /, BOOT_MS, 0);
    await machine.waitFor(/restarting in 30 seconds/, BOOT_MS, from);
  });

  test('with thimble.rescue it opens a shell instead', async (t) => {
    await serveAgain(t);
    const machine = await start(t, { settings: ['thimble.tag=v9', 'thimble.rescue'] });
    await machine.waitFor(/rescue shell/, BOOT_MS);
    await machine.waitFor(/~ # /, BOOT_MS);
    assert.match(await machine.shell('cat /proc/version', BOOT_MS), /^Linux version/);
  });

  const image = () => join(out, `${FQRN}.iso`);

  async function serveAgain(t: TestContext): Promise<void> {
    const args = ['--config', join(out, 'config'), 'serve', FQRN, '--host', '127.0.0.1', '--quiet'];
    const server = startThimble([...args, '--port', portOf(figures)]);
    await new Promise<void>((resolve) => server.stdout!.once('data', () => resolve()));
    t.after(() => server.kill('SIGKILL'));
  }

  async function start(t: TestContext, options: Partial<MachineOptions>): Promise<Machine> {
    const machine = await Machine.start({ image: image(), memoryMiB: 1024, ...options });
    t.after(() => machine.kill());
    return machine;
  }
});

function portOf(figures: DemoFigures): string {
  return /--port (\d+)/.exec(figures.bootAgain.join('\n'))![1]!;
}
