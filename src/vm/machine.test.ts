import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { BLANK_MARKER, isMarkedBlank, PROBE_BYTES } from '../guest/scratch-disk.ts';
import type { Accelerator } from './accelerator.ts';
import { Machine, type MachineOptions, makeDisk, qemuArguments } from './machine.ts';

const MIB = 1024 * 1024;
/** Generous: a test that waits this long fails. */
const LIMIT_MS = 20_000;

/**
 * Puts a program in the place of QEMU that gives this version, refuses to run the accelerator's probe, and otherwise is
 * the shell script. Answers with a folder that has an image in it.
 */
function fakeQemu(t: TestContext, { version = '10.0.2', script = 'exit 0' } = {}): string {
  const folder = scratchFolder(t);
  const lines = [
    '#!/bin/sh',
    `case "$*" in`,
    `  --version) echo "QEMU emulator version ${version}"; exit ;;`,
    '  *isa-debug-exit*) exit 1 ;;',
    'esac',
    script,
  ];
  writeFileSync(join(folder, 'qemu-system-x86_64'), lines.join('\n'), { mode: 0o755 });
  writeFileSync(join(folder, 'os.iso'), '');
  const path = process.env['PATH'] ?? '';
  process.env['PATH'] = `${folder}${delimiter}${path}`;
  t.after(() => {
    process.env['PATH'] = path;
  });
  return folder;
}

const failsWith =
  (code: string, message: RegExp, hint = /^/) =>
  (error: unknown) => {
    assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    assert.match(error.hint ?? '', hint);
    return true;
  };

/** The value behind each occurrence of an option. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1]!] : []));
}

describe('qemuArguments()', () => {
  interface Case {
    readonly options?: Partial<MachineOptions>;
    readonly used?: Accelerator;
    readonly version?: string;
  }
  function argumentsFor(t: TestContext, { options = {}, used = 'tcg', version = '10.0.2' }: Case) {
    const folder = fakeQemu(t, { version });
    const image = join(folder, 'os.iso');
    return { folder, args: qemuArguments({ image, memoryMiB: 512, ...options }, used) };
  }

  test('qemuArguments() describes a machine without surprises', (t) => {
    const { folder, args } = argumentsFor(t, {});
    assert.deepEqual(args, [
      ...['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max'],
      ...['-smp', String(Math.min(2, availableParallelism())), '-m', '512'],
      ...['-display', 'none', '-vga', 'none', '-nodefaults'],
      ...['-drive', `file=${folder}/os.iso,media=cdrom,format=raw,readonly=on`],
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,romfile='],
      ...['-device', 'virtio-rng-pci'],
    ]);
  });

  const processors: readonly [used: Accelerator, version: string, cpu: string][] = [
    ['kvm', '7.2.0', 'host'],
    ['kvm', '10.0.2', 'host'],
    ['tcg', '6.2.0', 'max,-cx16'],
    ['tcg', '7.2.22 (Debian 1:7.2+dfsg-7)', 'max,-cx16'],
    ['tcg', '8.0.0', 'max'],
    ['tcg', '10.0.2', 'max'],
    ['tcg', 'unknown', 'max,-cx16'],
  ];
  for (const [used, version, cpu] of processors) {
    test(`qemuArguments() takes processor ${cpu} for ${used} of QEMU ${version}`, (t) => {
      const { args } = argumentsFor(t, { used, version });
      assert.deepEqual(valuesOf(args, '-cpu'), [cpu]);
      assert.deepEqual(valuesOf(args, '-accel'), [used === 'kvm' ? 'kvm' : 'tcg,thread=multi']);
    });
  }

  test('qemuArguments() gives the memory and the port that are asked for', (t) => {
    const { args } = argumentsFor(t, { options: { memoryMiB: 2048, sshPort: 2222 } });
    assert.deepEqual(valuesOf(args, '-m'), ['2048']);
    assert.deepEqual(valuesOf(args, '-netdev'), ['user,id=net,hostfwd=tcp:127.0.0.1:2222-:22']);
  });

  test('qemuArguments() passes settings, and credentials for systemd, as SMBIOS strings', (t) => {
    const { args } = argumentsFor(t, {
      options: {
        settings: ['thimble.tag=v1', 'thimble.server=http://a,http://b'],
        sshKey: 'ssh-ed25519 AAAA me@example.org\n\n',
        autologin: true,
      },
    });
    const key = Buffer.from('ssh-ed25519 AAAA me@example.org\n').toString('base64');
    assert.deepEqual(valuesOf(args, '-smbios'), [
      'type=11,value=thimble.tag=v1',
      'type=11,value=thimble.server=http://a,,http://b',
      `type=11,value=io.systemd.credential.binary:ssh.authorized_keys.root=${key}`,
      'type=11,value=io.systemd.credential:agetty.autologin=root',
      'type=11,value=io.systemd.credential:login.noauth=yes',
    ]);
  });

  const images: readonly [name: string, drive: string][] = [
    ['os.iso', 'media=cdrom,format=raw,readonly=on'],
    ['os.qcow2', 'if=virtio,format=qcow2,snapshot=on'],
    ['os.img', 'if=virtio,format=raw,snapshot=on'],
  ];
  for (const [name, drive] of images) {
    test(`qemuArguments() attaches ${name} so that the machine cannot change it`, (t) => {
      const image = join(scratchFolder(t), name);
      writeFileSync(image, '');
      const { args } = argumentsFor(t, { options: { image } });
      assert.deepEqual(valuesOf(args, '-drive'), [`file=${image},${drive}`]);
    });
  }

  test('qemuArguments() makes the disk, and attaches it behind the image', (t) => {
    const path = join(scratchFolder(t), 'a,b.disk');
    const { args } = argumentsFor(t, { options: { disk: { path, sizeBytes: MIB } } });
    assert.equal(
      valuesOf(args, '-drive')[1],
      `file=${path.replace(',', ',,')},if=virtio,format=raw,cache=writeback,discard=unmap`,
    );
    assert.equal(statSync(path).size, MIB);
  });

  test('qemuArguments() boots by UEFI with its firmware', needs('ovmf'), (t) => {
    const [firmware] = valuesOf(argumentsFor(t, { options: { uefi: true } }).args, '-bios');
    assert.ok(firmware !== undefined && existsSync(firmware));
  });

  test('qemuArguments() says how to make an image where there is none', (t) => {
    assert.throws(
      () => argumentsFor(t, { options: { image: '/nowhere/os.iso' } }),
      failsWith('NOT_FOUND', /\/nowhere\/os\.iso: there is no such image/, /thimble image build/),
    );
  });

  test('qemuArguments() says what to install where there is no QEMU', (t) => {
    const image = join(scratchFolder(t), 'os.iso');
    writeFileSync(image, '');
    const path = process.env['PATH'];
    process.env['PATH'] = '';
    t.after(() => {
      process.env['PATH'] = path;
    });
    assert.throws(
      () => qemuArguments({ image, memoryMiB: 1 }, 'tcg'),
      failsWith('NOT_FOUND', /Cannot run qemu-system-x86_64/, /qemu-system-x86/),
    );
  });
});

describe('makeDisk()', () => {
  test('makeDisk() makes a sparse disk that the guest may format, and that nobody else can read', (t) => {
    const path = join(scratchFolder(t), 'disk');
    makeDisk(path, 64 * MIB);
    const { size, blocks, mode } = statSync(path);
    assert.equal(size, 64 * MIB);
    assert.ok(blocks * 512 < MIB);
    assert.equal(mode & 0o777, 0o600);
    const start = readFileSync(path).subarray(0, PROBE_BYTES);
    assert.ok(isMarkedBlank({ name: 'vda', readOnly: false, start }));
    assert.equal(start.toString('latin1', 0, BLANK_MARKER.length), BLANK_MARKER);
  });

  test('makeDisk() leaves an existing disk as it is', (t) => {
    const path = join(scratchFolder(t), 'disk');
    writeFileSync(path, 'precious');
    makeDisk(path, MIB);
    assert.equal(readFileSync(path, 'utf8'), 'precious');
  });

  test('makeDisk() reports a disk that cannot be made', () => {
    assert.throws(
      () => makeDisk('/nowhere/disk', MIB),
      failsWith('STORAGE', /Cannot make disk \/nowhere\/disk/),
    );
  });

  test('makeDisk() leaves no half of a disk', (t) => {
    const path = join(scratchFolder(t), 'disk');
    assert.throws(() => makeDisk(path, 2 ** 62), failsWith('STORAGE', /Cannot make disk/));
    assert.ok(!existsSync(path));
  });
});

describe('Machine', () => {
  async function start(t: TestContext, script: string): Promise<Machine> {
    const folder = fakeQemu(t, { script });
    const machine = await Machine.start({ image: join(folder, 'os.iso'), memoryMiB: 64 });
    t.after(() => machine.kill());
    return machine;
  }

  test('Machine.start() runs QEMU with its console on standard input and output', async (t) => {
    const machine = await start(t, 'echo "$*"');
    assert.equal(await machine.exited, 0);
    assert.match(machine.console, / -serial stdio -monitor none -no-reboot$/m);
    assert.equal(machine.accelerator, 'tcg');
  });

  test('Machine.exited tells the status of QEMU', async (t) => {
    assert.equal(await (await start(t, 'exit 3')).exited, 3);
  });

  test('Machine.waitFor() finds what is said before and after it is asked', async (t) => {
    const machine = await start(t, 'echo one; read -r go; echo two');
    const one = await machine.waitFor(/one/, LIMIT_MS);
    assert.equal(await machine.waitFor(/one/, LIMIT_MS), one);
    const two = machine.waitFor(/two/, LIMIT_MS, one);
    machine.type('go\n');
    const end = await two;
    assert.equal(machine.console.slice(0, end), 'one\ntwo');
  });

  test('Machine.waitFor() puts pieces of a line together', async (t) => {
    const machine = await start(t, 'printf "lo"; read -r go; printf "gin: "; read -r go');
    await machine.waitFor(/lo/, LIMIT_MS);
    machine.type('go\n');
    assert.equal(await machine.waitFor(/login: /, LIMIT_MS), 'login: '.length);
  });

  test('Machine.waitFor() looks behind the position that is given', async (t) => {
    const machine = await start(t, 'echo same; read -r go; echo same');
    const first = await machine.waitFor(/same/, LIMIT_MS);
    machine.type('go\n');
    assert.equal(await machine.waitFor(/same/, LIMIT_MS, first), first + '\nsame'.length);
  });

  test('Machine.waitFor() serves several who wait', async (t) => {
    const machine = await start(t, 'read -r go; echo a; read -r go; echo b');
    const both = Promise.all([machine.waitFor(/a/, LIMIT_MS), machine.waitFor(/b/, LIMIT_MS)]);
    machine.type('go\ngo\n');
    const [a, b] = await both;
    assert.ok(a < b);
  });

  test('Machine.waitFor() gives up at once when the machine ends, with its last words', async (t) => {
    const machine = await start(t, 'echo "Kernel panic" >&2; exit 1');
    await assert.rejects(
      machine.waitFor(/login: /, 10 * 60_000),
      failsWith('CANCELLED', /Waited for \/login: \/ on the console, but the machine ended.*\nKernel panic$/),
    );
  });

  test('Machine.waitFor() gives up after its time', async (t) => {
    const machine = await start(t, 'echo still here; read -r go');
    await machine.waitFor(/still here/, LIMIT_MS);
    await assert.rejects(
      machine.waitFor(/login: /, 20),
      failsWith('CANCELLED', /but 0 s have passed.*\nstill here$/),
    );
  });

  test('Machine.waitForShell() waits for the prompt behind the login', async (t) => {
    const machine = await start(t, 'echo "root@x:~# fake"; printf "x login: root\\nroot@x:~# "; read -r go');
    await machine.waitForShell(LIMIT_MS);
    assert.ok(machine.console.endsWith('# '));
  });

  test('Machine.shell() answers with what a command prints, and not with its echo', async (t) => {
    // A terminal echoes what is typed, and ends lines with a carriage return.
    const terminal = 'while read -r line; do printf "%s\\r\\n" "$line"; eval "$line" | sed "s/$/\\r/"; done';
    const machine = await start(t, terminal);
    assert.equal(await machine.shell('echo one; echo two', LIMIT_MS), 'one\ntwo');
    assert.equal(await machine.shell('true', LIMIT_MS), '');
    assert.equal(await machine.shell('echo "<end>"', LIMIT_MS), '<end>');
  });

  test('Machine.tail() shows the last lines without what moves the cursor', async (t) => {
    const machine = await start(
      t,
      String.raw`printf 'one\r\n\033[1;31mtwo\033[0m\n\n\033[2;1Hthree\033]0;title\007\n'`,
    );
    await machine.exited;
    assert.equal(machine.tail(), 'one\ntwo\nthree');
    assert.equal(machine.tail(2), 'two\nthree');
  });

  test('Machine.kill() ends a machine that listens to nothing', async (t) => {
    const machine = await start(t, 'trap "" TERM INT HUP; echo up; exec sleep 1000');
    await machine.waitFor(/up/, LIMIT_MS);
    await machine.kill();
    assert.equal(await machine.exited, null);
  });
});

test('QEMU takes the arguments of qemuArguments()', needs('qemu'), async (t) => {
  const folder = scratchFolder(t);
  const image = join(folder, 'a,b.img');
  // A disk of one sector would not be booted. mov dx, 0x3f8; out "up" to that port, the serial line; cli; hlt, for ever.
  const sector = Buffer.alloc(MIB);
  sector.write('baf803 b075ee b070ee fa f4 ebfd'.replaceAll(' ', ''), 'hex');
  sector.writeUInt16LE(0xaa55, 510);
  writeFileSync(image, sector);
  const machine = await Machine.start({
    image,
    memoryMiB: 64,
    disk: { path: join(folder, 'disk'), sizeBytes: MIB },
    settings: ['thimble.tag=a,b'],
    autologin: true,
  });
  t.after(() => machine.kill());
  await machine.waitFor(/^up$/, LIMIT_MS);
});
