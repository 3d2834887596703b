import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileScope } from '../support/file-scope.ts';
import { needs } from '../support/needs.ts';
import { transactionScene } from '../support/transaction-scene.ts';
import { dir, file, hardlink, makeTree, readTree, type SeenEntry, symlink } from '../support/trees.ts';

const scope = fileScope();

/** `at` is where it will be: hard links are named from the top. */
const treeAt = (at = '') =>
  dir({
    etc: dir({ motd: file('hello'), hosts: file('127.0.0.1 localhost'), empty: dir({}) }),
    nested: dir({ '.cvmfscatalog': file(''), a: file('a'), sub: dir({ b: file('b') }) }),
    links: dir({
      one: file('linked'),
      two: hardlink(`${at}links/one`),
      three: hardlink(`${at}links/one`),
      alone: file('x'),
    }),
    target: symlink('$(VARIABLE)/etc'),
    file: file('was a file'),
  });

interface Case {
  readonly what: string;
  change(folder: string): void;
}

const CASES: readonly Case[] = [
  { what: 'nothing', change: () => {} },
  { what: 'a new file', change: (folder) => writeFileSync(join(folder, 'etc/new'), 'new') },
  { what: 'a file written to', change: (folder) => appendFileSync(join(folder, 'etc/motd'), '!') },
  { what: 'a file cut short', change: (folder) => truncateSync(join(folder, 'etc/hosts'), 3) },
  { what: 'a removed file', change: (folder) => unlinkSync(join(folder, 'etc/motd')) },
  { what: 'a removed tree', change: (folder) => rmSync(join(folder, 'nested'), { recursive: true }) },
  { what: 'a removed empty folder', change: (folder) => rmdirSync(join(folder, 'etc/empty')) },
  {
    what: 'a folder removed and made again',
    change: (folder) => {
      rmSync(join(folder, 'nested/sub'), { recursive: true });
      mkdirSync(join(folder, 'nested/sub'));
      writeFileSync(join(folder, 'nested/sub/c'), 'c');
    },
  },
  {
    what: 'a nested catalog that is none any more, and a new one',
    change: (folder) => {
      unlinkSync(join(folder, 'nested/.cvmfscatalog'));
      writeFileSync(join(folder, 'etc/.cvmfscatalog'), '');
    },
  },
  {
    what: 'a folder that became a file, and a file that became a folder',
    change: (folder) => {
      rmSync(join(folder, 'etc'), { recursive: true });
      writeFileSync(join(folder, 'etc'), 'a file now');
      unlinkSync(join(folder, 'file'));
      mkdirSync(join(folder, 'file'));
      writeFileSync(join(folder, 'file/in'), 'it');
    },
  },
  {
    what: 'a symlink that became a folder, and a file that became a symlink',
    change: (folder) => {
      unlinkSync(join(folder, 'target'));
      mkdirSync(join(folder, 'target'));
      unlinkSync(join(folder, 'file'));
      symlinkSync('etc/motd', join(folder, 'file'));
    },
  },
  {
    what: 'the time of a symlink with a variable in it',
    change: (folder) => lutimesSync(join(folder, 'target'), 1, 1),
  },
  {
    what: 'a renamed folder',
    // The kernel says EXDEV for folders of the lower layer; mv copies then.
    change: (folder) => execFileSync('mv', [join(folder, 'nested'), join(folder, 'elsewhere')]),
  },
  {
    what: 'attributes alone: mode, owner, times, of files and folders',
    change: (folder) => {
      chmodSync(join(folder, 'etc/motd'), 0o4711);
      chownSync(join(folder, 'etc/hosts'), 1234, 5678);
      chmodSync(join(folder, 'nested'), 0o700);
      lutimesSync(join(folder, 'links/alone'), 1_000_000_000, 1_000_000_000);
      chmodSync(folder, 0o711);
    },
  },
  {
    what: 'fifos, sockets and devices',
    change: (folder) => {
      execFileSync('mkfifo', [join(folder, 'fifo')]);
      execFileSync('mknod', [join(folder, 'zero'), 'c', '1', '5']);
      execFileSync('mknod', [join(folder, 'block'), 'b', '7', '300']);
      const listen =
        'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, 9))';
      spawnSync(process.execPath, ['-e', listen, join(folder, 'socket')]);
      assert.ok(statSync(join(folder, 'socket')).isSocket());
      assert.notEqual(spawnSync('mknod', [join(folder, 'whiteout'), 'c', '0', '0']).status, 0);
    },
  },
  {
    what: 'an editor that writes a new file and renames it over the old one',
    change: (folder) => {
      writeFileSync(join(folder, 'etc/.motd.swp'), 'edited');
      renameSync(join(folder, 'etc/.motd.swp'), join(folder, 'etc/motd'));
    },
  },
  { what: 'odd names', change: (folder) => makeTree(folder, dir({ 'a b\n': dir({ '\\x': file('') }) })) },
  // ---- hard links ----
  {
    what: 'a write to one name of a file',
    change: (folder) => appendFileSync(join(folder, 'links/two'), '!'),
  },
  { what: 'the mode of one name of a file', change: (folder) => chmodSync(join(folder, 'links/two'), 0o600) },
  { what: 'one name less', change: (folder) => unlinkSync(join(folder, 'links/one')) },
  {
    what: 'all names but one gone',
    change: (folder) => {
      unlinkSync(join(folder, 'links/one'));
      unlinkSync(join(folder, 'links/three'));
    },
  },
  {
    what: 'a name more',
    change: (folder) => linkSync(join(folder, 'links/two'), join(folder, 'links/zero')),
  },
  {
    what: 'a name for a file that had one',
    change: (folder) => linkSync(join(folder, 'links/alone'), join(folder, 'links/pair')),
  },
  {
    what: 'new files with several names',
    change: (folder) => {
      writeFileSync(join(folder, 'links/new'), 'new');
      linkSync(join(folder, 'links/new'), join(folder, 'links/newer'));
      appendFileSync(join(folder, 'links/newer'), '!');
    },
  },
  {
    what: 'a name replaced by an editor: it leaves the others',
    change: (folder) => {
      writeFileSync(join(folder, 'links/.two'), 'edited');
      renameSync(join(folder, 'links/.two'), join(folder, 'links/two'));
    },
  },
  {
    what: 'a name renamed, and its old place taken',
    change: (folder) => {
      renameSync(join(folder, 'links/one'), join(folder, 'links/four'));
      writeFileSync(join(folder, 'links/one'), 'another file');
      appendFileSync(join(folder, 'links/three'), '!');
    },
  },
  {
    what: 'all names gone, and the folder too',
    change: (folder) => rmSync(join(folder, 'links'), { recursive: true }),
  },
];

const TOOLS: Case = {
  what: 'git clone, tar, and cp',
  change: (folder) => {
    const run = (program: string, ...args: string[]) =>
      execFileSync(program, args, { cwd: folder, stdio: 'pipe' });
    run('git', 'init', '-q', 'origin');
    const identity = ['-c', 'user.name=a', '-c', 'user.email=a@example.org'];
    run('git', '-C', 'origin', ...identity, 'commit', '-q', '--allow-empty', '-m', 'first');
    // By default it makes hard links between folders, which a repository cannot have.
    run('git', 'clone', '-q', '--no-hardlinks', 'origin', 'clone');
    run('tar', '-cf', 'all.tar', 'etc', 'links', 'nested');
    mkdirSync(join(folder, 'unpacked'));
    run('tar', '-xf', 'all.tar', '-C', 'unpacked');
    // Over what is there: tar removes a file before it writes it.
    run('tar', '-xf', 'all.tar');
    run('cp', '-a', 'links', 'copy');
  },
};

const ATTRIBUTES: Case = {
  what: 'attributes, access lists and capabilities',
  change: (folder) => {
    const set = (path: string, name: string, value: string) =>
      execFileSync('setfattr', ['-n', name, '-v', value, join(folder, path)]);
    set('etc/motd', 'user.note', 'text');
    set('etc/motd', 'security.capability', '0x0100000200200000000000000000000000000000');
    set('etc', 'system.posix_acl_default', '0x0200000001000700ffffffff04000500ffffffff20000500ffffffff');
    set('nested/sub', 'trusted.note', 'text');
  },
};

describe('what a transaction publishes is what its folder showed:', needs('fuse', 'attr'), () => {
  const cases = [...CASES, TOOLS, ATTRIBUTES];
  let shown = new Map<string, SeenEntry>();
  let published = new Map<string, SeenEntry>();
  let check = '';

  // All cases in one transaction, each in a tree of its own.
  before(async () => {
    const all = dir(Object.fromEntries(cases.map((_, i) => [`case-${i}`, treeAt(`case-${i}/`)])));
    const scene = await transactionScene(scope, all);
    await scene.begin();
    for (const [i, { change }] of cases.entries()) change(join(scene.folder, `case-${i}`));
    shown = readTree(scene.folder);
    await scene.publish();
    published = await scene.readPublished();
    check = (await scene.run('check', scene.repository.storage, '--data')).stdout;
  });

  for (const [i, { what }] of cases.entries()) {
    test(what, () => {
      const own = (tree: Map<string, SeenEntry>) =>
        new Map([...tree].filter(([path]) => path === `/case-${i}` || path.startsWith(`/case-${i}/`)));
      assert.deepEqual([...own(published).keys()], [...own(shown).keys()]);
      assert.deepEqual(own(published), own(shown));
    });
  }

  test('and the snapshot is sound', () => assert.match(check, /nothing wrong/));
});

test('names in other folders become files of their own', needs('fuse'), async (t) => {
  const scene = await transactionScene(t, treeAt());
  await scene.begin();
  const { folder } = scene;
  linkSync(join(folder, 'links/two'), join(folder, 'etc/two'));
  appendFileSync(join(folder, 'etc/two'), '!');
  unlinkSync(join(folder, 'links/two'));
  await scene.publish();
  const seen = await scene.readPublished();
  for (const name of ['/links/one', '/links/three', '/etc/two']) assert.equal(seen.get(name)!.size, 7, name);
  assert.equal(seen.get('/links/one')!.nlink, 2);
  assert.equal(seen.get('/links/three')!.linkedTo, '/links/one');
  assert.equal(seen.get('/etc/two')!.nlink, 1);
});
