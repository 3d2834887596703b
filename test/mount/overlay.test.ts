import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { publishRepository } from '../support/client-repository.ts';
import { FuseProcess, type FuseProcessOptions, holdMount } from '../support/fuse-process.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch, scratchFolder } from '../support/scratch.ts';
import { dir, file, hardlink, symlink } from '../support/trees.ts';

const TREE = dir({
  script: file('#!/bin/sh\necho lower\n', { mode: 0o755 }),
  cat: file(readFileSync('/bin/cat'), { mode: 0o755 }),
  d: dir({ a: file('a'), b: file('b', { mode: 0o640, uid: 12, gid: 34 }), sub: dir({ c: file('c') }) }),
  first: file('linked'),
  second: hardlink('first'),
  link: symlink('d/a'),
});

/** A mount, to be the read-only lower layer. */
async function mountLower(t: TestContext, fuse: FuseProcessOptions['fuse'] = {}): Promise<string> {
  const lower = join(scratchFolder(t), 'lower');
  mkdirSync(lower);
  const published = await publishRepository(t);
  const { rootCatalog } = await published.publish(TREE);
  const fd = holdMount(t, lower);
  await FuseProcess.start(t, fd, { server: published.storage, rootHash: rootCatalog, fuse });
  return lower;
}

/** Puts an empty upper layer over it, in memory; answers where both are seen. */
function mountOverlay(t: TestContext, lower: string, options: string): string {
  const upper = memoryScratch(t);
  const merged = join(scratchFolder(t), 'merged');
  for (const folder of [merged, join(upper, 'upper'), join(upper, 'work')]) mkdirSync(folder);
  const layers = `lowerdir=${lower},upperdir=${upper}/upper,workdir=${upper}/work${options}`;
  execFileSync('mount', ['-t', 'overlay', '-o', layers, 'thimble-test', merged]);
  return merged;
}

const sh = (script: string, cwd: string) =>
  execFileSync('sh', ['-euc', script], { cwd, encoding: 'utf8' }).trim();

/** What a shell does in the overlay, and what it prints. */
const CASES: readonly [what: string, script: string, printed: string][] = [
  ['reads through', 'cat link d/b', 'ab'],
  ['runs programs and scripts', './cat d/a; ./script', 'alower'],
  ['copies a file up when it is written', 'echo new >> d/a; cat d/a; stat -c %a d/a', 'anew\n644'],
  ['copies mode and owner up', 'touch -c d/b; stat -c "%a %u %g" d/b', '640 12 34'],
  ['changes modes', 'chmod 755 d/a; stat -c %a d/a', '755'],
  ['hides what is removed', 'rm d/a; ls d', 'b\nsub'],
  ['makes again what was removed', 'rm -r d; mkdir d; ls -A d', ''],
  ['renames files', 'mv d/a d/z; ls d; cat d/z', 'b\nsub\nz\na'],
  ['renames directories, by a copy', 'mv d e; ls e/sub; test ! -e d && echo gone', 'c\ngone'],
  ['replaces a file by a rename', 'echo x > n; mv n d/a; cat d/a', 'x'],
  ['links what is below', 'ln d/a d/l; cat d/l; stat -c %h d/l', 'a2'],
  [
    'maps a file that is written elsewhere',
    'cp script s; echo "echo more" >> script; ./s; ./script',
    'lower\nlower\nmore',
  ],
];

describe('overlayfs over a mount', needs('fuse'), () => {
  for (const [name, options, fuse] of [
    ['as it is', '', {}],
    ['with index, xino and redirect_dir', ',index=on,xino=on,redirect_dir=on', {}],
    ['without extended attributes', '', { withoutXattrs: true }],
  ] as const) {
    test(name, async (t) => {
      const lower = await mountLower(t, fuse);
      for (const [what, script, printed] of CASES) {
        await t.test(what, (t) => {
          assert.equal(sh(script, mountOverlay(t, lower, options)), printed);
          // Nothing of it has reached the lower layer.
          assert.equal(sh('cat d/a d/b d/sub/c first', lower), 'abclinked');
        });
      }
    });
  }
});
