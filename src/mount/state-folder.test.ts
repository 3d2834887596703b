import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ownerOf, STATE_FILES, serverPlace, stateFolderOf, stateRoot } from './state-folder.ts';

const MODULE = fileURLToPath(new URL('./state-folder.ts', import.meta.url));

/** State folders of this test alone. */
function ownRoot(t: TestContext): string {
  const before = process.env['THIMBLE_STATE'];
  const root = scratchFolder(t);
  process.env['THIMBLE_STATE'] = root;
  t.after(() => {
    if (before === undefined) delete process.env['THIMBLE_STATE'];
    else process.env['THIMBLE_STATE'] = before;
  });
  return root;
}

/** In a process of its own, since whoever claims a folder works in there from then on. */
function claim(mountpoint: string): { status: number | null; stderr: string } {
  const script = `const { claimStateFolder } = await import(process.argv[1]);
    try { claimStateFolder(process.argv[2]); } catch (error) { process.stderr.write(error.code + ' ' + error.message); process.exitCode = 1; }`;
  const args = [
    '--disable-warning=ExperimentalWarning',
    '--input-type=module',
    '-e',
    script,
    MODULE,
    mountpoint,
  ];
  return spawnSync(process.execPath, args, { encoding: 'utf8' });
}

test('the name of a state folder says what is mounted where', (t) => {
  ownRoot(t);
  const nameOf = (mountpoint: string) => basename(stateFolderOf(mountpoint));
  assert.equal(nameOf('/mnt/os'), 'mnt-os');
  assert.equal(nameOf('/mnt/os/'), 'mnt-os');
  assert.equal(nameOf('/mnt-os'), 'mnt%2dos');
  assert.equal(nameOf('/'), '-');
  assert.equal(nameOf('/.hidden'), '%2ehidden');
  assert.equal(nameOf('/ä b'), '%c3%a4%20b');
});

test('long mount points get short names, which differ', (t) => {
  ownRoot(t);
  const [one, two] = ['x', 'y'].map((end) => stateFolderOf(`/${'long/'.repeat(40)}${end}`));
  assert.notEqual(one, two);
  assert.ok(basename(one!).length <= 56);
});

test('the folder of all state folders can be set, and is private to its user otherwise', () => {
  assert.equal(stateRoot({ THIMBLE_STATE: '/somewhere' }), '/somewhere');
  const isRoot = process.getuid?.() === 0;
  assert.equal(
    stateRoot({ XDG_RUNTIME_DIR: '/run/user/7' }),
    isRoot ? '/run/thimble' : '/run/user/7/thimble',
  );
});

test('claimStateFolder() makes a private folder, in the place of one that a dead process left', (t) => {
  ownRoot(t);
  const folder = stateFolderOf('/mnt/claimed');
  assert.equal(claim('/mnt/claimed').status, 0);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  writeFileSync(join(folder, STATE_FILES.journal), 'of the dead');
  assert.equal(ownerOf(folder), undefined);
  assert.equal(claim('/mnt/claimed').status, 0);
  assert.equal(existsSync(join(folder, STATE_FILES.journal)), false);
});

test('claimStateFolder() refuses a folder whose process is alive', (t) => {
  ownRoot(t);
  const folder = stateFolderOf('/mnt/taken');
  mkdirSync(folder);
  writeFileSync(join(folder, STATE_FILES.pid), `${process.pid}\n`);
  const before = process.cwd();
  process.chdir(folder);
  t.after(() => process.chdir(before));
  assert.equal(ownerOf(folder), process.pid);
  const { status, stderr } = claim('/mnt/taken');
  assert.equal(status, 1);
  assert.match(stderr, /^CONFLICT Cannot mount on \/mnt\/taken/);
  assert.equal(readFileSync(join(folder, STATE_FILES.pid), 'latin1'), `${process.pid}\n`);
});

test('claimStateFolder() says when no folder can be made', (t) => {
  writeFileSync(join(ownRoot(t), 'file'), '');
  process.env['THIMBLE_STATE'] += '/file';
  assert.match(claim('/mnt/none').stderr, /^STORAGE Cannot make state folder/);
});

test('a process learns from its environment that it is to serve a mount', () => {
  assert.equal(serverPlace({}), undefined);
  assert.deepEqual(
    serverPlace({
      THIMBLE_STATE_FOLDER: '/run/thimble/mnt',
      THIMBLE_SUPERVISED: '1',
      THIMBLE_FUSE_FD: '3',
      THIMBLE_LOST_REQUESTS: 'fail',
    }),
    { stateFolder: '/run/thimble/mnt', isSupervised: true, fd: 3, failsLostRequests: true },
  );
  assert.deepEqual(serverPlace({ THIMBLE_STATE_FOLDER: '/x' }), {
    stateFolder: '/x',
    isSupervised: false,
    fd: undefined,
    failsLostRequests: false,
  });
});
