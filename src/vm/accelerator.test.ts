import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { needs } from '../../test/support/needs.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { accelerator, runsProbe } from './accelerator.ts';

const isX64 = process.arch === 'x64' ? false : 'the probe is code for x86-64';

/** Puts a shell script in the place of QEMU. */
function fakeQemu(t: TestContext, script: string | undefined): void {
  const folder = scratchFolder(t);
  if (script !== undefined) {
    writeFileSync(join(folder, 'qemu-system-x86_64'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  setVariable(t, 'PATH', folder);
}

function setVariable(t: TestContext, name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  t.after(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
}

describe('runsProbe() with QEMU', () => {
  const { skip } = needs('qemu');
  const options = { skip: skip === false ? isX64 : skip };

  test('runsProbe() hears from the probe under software emulation', options, async () => {
    assert.equal(await runsProbe('tcg', 'max'), true);
  });

  test('runsProbe() hears from the probe on a processor without cmpxchg16b', options, async () => {
    assert.equal(await runsProbe('tcg', 'max,-cx16'), true);
  });

  test('runsProbe() hears nothing from a processor that cannot run the probe', options, async () => {
    assert.equal(await runsProbe('tcg', 'qemu32'), false); // no 64-bit mode
  });

  test('runsProbe() hears nothing from a processor that does not exist', options, async () => {
    assert.equal(await runsProbe('tcg', 'no-such-processor'), false);
  });
});

describe('runsProbe()', { skip: isX64 }, () => {
  const cases: readonly [what: string, script: string | undefined, expected: boolean][] = [
    ['believes the word of the probe alone', 'exit 85', true], // 0x2a << 1 | 1
    ['takes an ordinary end for a failure', 'exit 0', false],
    ['takes an error of QEMU for a failure', 'exit 1', false],
    ['takes a crash for a failure', 'kill -SEGV $$', false],
    ['takes a missing QEMU for a failure', undefined, false],
  ];
  for (const [what, script, expected] of cases) {
    test(`runsProbe() ${what}`, async (t) => {
      fakeQemu(t, script);
      assert.equal(await runsProbe('kvm', 'host'), expected);
    });
  }

  test('runsProbe() ends a machine that hangs', async (t) => {
    fakeQemu(t, 'exec /bin/sleep 1000');
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const answer = runsProbe('kvm', 'host');
    t.mock.timers.tick(5_000);
    assert.equal(await answer, false);
  });

  test('runsProbe() leaves nothing behind', async (t) => {
    const folder = scratchFolder(t);
    const asked = join(folder, 'asked');
    fakeQemu(t, `echo "$*" >${asked}; exit 1`);
    setVariable(t, 'TMPDIR', folder);
    await runsProbe('tcg', 'max');
    assert.match(readFileSync(asked, 'utf8'), new RegExp(`file=${folder}/thimble-probe-\\w+/probe\\.img,`));
    assert.deepEqual(readdirSync(folder), ['asked']);
  });
});

describe('accelerator()', () => {
  test('accelerator() falls back to emulation when the probe fails, and keeps to it', async (t) => {
    fakeQemu(t, 'exit 1');
    assert.equal(await accelerator(), 'tcg');
    fakeQemu(t, 'exit 85');
    assert.equal(await accelerator(), 'tcg');
  });
});
