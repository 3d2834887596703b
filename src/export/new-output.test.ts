import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { newFile, newFolder } from './new-output.ts';

const fail = () => Promise.reject(new Error('no more'));

describe('newFolder()', () => {
  for (const before of ['absent', 'empty']) {
    test(`puts a folder where it is ${before}, and shows nothing before it is whole`, async (t) => {
      const scratch = scratchFolder(t);
      const output = join(scratch, 'output');
      if (before === 'empty') mkdirSync(output);
      await newFolder(output, async (folder) => {
        assert.equal(statSync(folder).mode & 0o777, 0o700);
        writeFileSync(join(folder, 'file'), 'x');
        assert.deepEqual(
          before === 'empty' ? readdirSync(output) : readdirSync(scratch).includes('output'),
          before === 'empty' ? [] : false,
        );
      });
      assert.deepEqual([readdirSync(scratch), readdirSync(output)], [['output'], ['file']]);
    });
  }

  test('refuses a folder that has something, and a file', async (t) => {
    const scratch = scratchFolder(t);
    writeFileSync(join(scratch, 'file'), 'x');
    for (const output of [scratch, join(scratch, 'file')]) {
      await assert.rejects(
        newFolder(output, async () => {}),
        { code: 'CONFLICT', message: /it exists$/ },
      );
    }
  });

  test('leaves nothing after a failure', async (t) => {
    const scratch = scratchFolder(t);
    await assert.rejects(newFolder(join(scratch, 'output'), fail), /no more/);
    assert.deepEqual(readdirSync(scratch), []);
  });

  test('says when there is no place for it', async (t) => {
    await assert.rejects(
      newFolder(join(scratchFolder(t), 'no/output'), async () => {}),
      { code: 'STORAGE' },
    );
  });
});

describe('newFile()', () => {
  test('replaces a file when the new one is whole, and not before', async (t) => {
    const scratch = scratchFolder(t);
    const output = join(scratch, 'output');
    writeFileSync(output, 'old');
    const failing = newFile(output, async (file) => {
      writeFileSync(file, 'half');
      throw new Error('no more');
    });
    await assert.rejects(failing, /no more/);
    assert.equal(readFileSync(output, 'utf8'), 'old');
    await newFile(output, async (file) => writeFileSync(file, 'new'));
    assert.deepEqual([readFileSync(output, 'utf8'), readdirSync(scratch)], ['new', ['output']]);
  });

  test('replaces no folder, device or pipe', async (t) => {
    for (const output of [scratchFolder(t), '/dev/null']) {
      await assert.rejects(
        newFile(output, async () => {}),
        { code: 'USAGE', message: /is not a file$/ },
      );
    }
  });

  test('says when nothing was made', async (t) => {
    await assert.rejects(
      newFile(join(scratchFolder(t), 'output'), async () => {}),
      { code: 'STORAGE' },
    );
  });
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`${signal} leaves nothing behind`, async (t) => {
    const scratch = scratchFolder(t);
    const script = `
      import { newFolder } from '${import.meta.dirname}/new-output.ts';
      import { writeFileSync } from 'node:fs';
      setInterval(() => {}, 1000);
      await newFolder(process.argv[1], async (folder) => {
        writeFileSync(folder + '/file', 'x');
        process.stdout.write('ready');
        await new Promise(() => {});
      });`;
    const args = [
      '--disable-warning=ExperimentalWarning',
      '--input-type=module-typescript',
      '-e',
      script,
      join(scratch, 'output'),
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => void child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    assert.equal(readdirSync(scratch).length, 1);
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [130, null]);
    assert.deepEqual(readdirSync(scratch), []);
  });
}
