import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.ts';
import { nodeClock } from '../../src/node/clock.ts';
import { FQRN, KeyRepository } from '../support/key-repository.ts';
import { memoryScratch } from '../support/scratch.ts';
import { thimble } from '../support/thimble.ts';

const CRASH_POINT = new URL('../support/publish-crash-point.ts', import.meta.url).href;
/** Parts of each step where it is killed once. */
const PARTS = 4;

test('a change of keys that is killed at any of its file operations is refused by nobody, and can be gone on with', async (t) => {
  const scratch = memoryScratch(t);
  let copies = 0;
  const copyOf = (of: KeyRepository) => of.copy(join(scratch, String(++copies)));
  let template = await KeyRepository.create(join(scratch, 'made'), {}, nodeClock.unixSeconds());
  const keyFiles = [template.paths.publicKey, template.paths.ed25519PublicKey];
  const rotate = (on: KeyRepository, args: readonly string[], env: Record<string, string> = {}) =>
    thimble(['--config', on.folder, 'key', 'rotate', FQRN, '--now', ...args], {
      env: { NODE_OPTIONS: `--import=${CRASH_POINT}`, ...env },
    });
  for (const args of [[], ['--use'], ['--finish']]) {
    const whole = copyOf(template);
    const countFile = join(scratch, 'count');
    const { status, stderr } = await rotate(whole, args, { CRASH_COUNT: countFile });
    assert.equal(status, 0, stderr);
    const operations = Number(readFileSync(countFile, 'utf8'));
    for (let part = 0; part < PARTS; part++) {
      const on = copyOf(template);
      const at = Math.ceil((operations * (part + 0.5)) / PARTS);
      assert.equal((await rotate(on, args, { CRASH_AT: String(at) })).status, null, `killed at ${at}`);
      await on.fetchManifest(keyFiles);
      await on.publish('meanwhile');
      await on.fetchManifest(keyFiles);
      const again = await rotate(on, args);
      // Killed behind the last change: then nothing is left to be done.
      assert.ok(again.status === 0 || again.status === EXIT_CODES.CONFLICT, again.stderr);
      await on.publish('after');
      await on.fetchManifest(keyFiles);
      assert.deepEqual(
        readdirSync(on.place.folder).filter((name) => name.endsWith('.lock')),
        [],
      );
    }
    template = whole;
  }
});
