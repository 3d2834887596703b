import assert from 'node:assert/strict';
import { isBuiltin } from 'node:module';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { bundleGuest } from './guest-bundle.ts';

const REPOSITORY = fileURLToPath(new URL('../../', import.meta.url));

describe('bundleGuest()', () => {
  test('bundleGuest() gives the same bytes each time', async () => {
    const [one, other] = [await bundleGuest(), await bundleGuest()];
    assert.ok(Buffer.from(one).equals(Buffer.from(other)));
  });

  test('bundleGuest() gives one program that needs nothing but the engine', async () => {
    const text = Buffer.from(await bundleGuest()).toString();
    assert.doesNotThrow(() => new Script(text));
    const required = [...text.matchAll(/\brequire\("([^"]+)"\)/g)].map((match) => match[1]!);
    assert.ok(required.includes('node:fs'), required.join());
    assert.deepEqual(
      required.filter((name) => !isBuiltin(name)),
      [],
    );
  });

  test('bundleGuest() tells nothing of the machine it was made on', async () => {
    const text = Buffer.from(await bundleGuest()).toString();
    assert.ok(!text.includes(REPOSITORY));
    assert.ok(!text.includes('sourceMappingURL'));
  });
});
