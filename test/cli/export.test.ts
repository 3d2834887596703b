/** The way out of a repository, as somebody takes it who reads docs/manual/export.md. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import type { ExportReport } from '../../src/export/export-tree.ts';
import type { PublishResult } from '../../src/publish/publisher.ts';
import { assertFails } from '../support/cli-failures.ts';
import { fileScope } from '../support/file-scope.ts';
import { fixturePath, unpackFixture } from '../support/fixtures.ts';
import { needs } from '../support/needs.ts';
import { memoryScratch } from '../support/scratch.ts';
import { startThimble, thimble, thimbleJson } from '../support/thimble.ts';
import { dir, file, hardlink, makeTree, readTree, symlink } from '../support/trees.ts';

const FQRN = 'os.example.org';
const scope = fileScope();
const scratch = memoryScratch(scope);
const config = ['--config', join(scratch, 'config')];
const storage = join(scratch, FQRN);
const source = join(scratch, 'tree');
let first: PublishResult;

const run = (...args: string[]) => thimble([...args, ...config]);
const json = <T>(...args: string[]) => thimbleJson<T>([...args, ...config]);
const at = (name: string) => join(scratch, name);

before(async () => {
  makeTree(
    source,
    dir({
      usr: dir({ bin: dir({ tool: file('#!', { mode: 0o4755 }), same: hardlink('usr/bin/tool') }) }),
      large: file('x'.repeat(50_000)),
      link: symlink('$(PLACE:-usr)/bin'),
    }),
  );
  await json('repo', 'create', FQRN, '--storage', storage, '--chunks', '4k,8k,16k');
  first = await json<PublishResult>('publish', FQRN, source, '--tag', 'v1');
  makeTree(source, dir({ second: file('of the second revision') }));
  await json('publish', FQRN, source);
});

/** Lines of a dump without what a publish makes anew: hashes of catalogs, of chunks, and the root's size. */
async function dumpOf(repository: string, ...selection: string[]): Promise<string[]> {
  const { stdout } = await run('dump', repository, '--content', ...selection);
  return stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ catalog=\S+/, ''));
}

for (const [format, path] of [
  ['dir', 'again-dir'],
  ['tar', 'again.tar'],
  ['oci', 'again-oci'],
] as const) {
  test(`what is exported as ${format} and published again has the same dump`, async () => {
    const name = `${format}.example.org`;
    const report = await json<ExportReport & { rootHash: string; notKept: [] }>(
      ...['export', FQRN, '--tag', 'v1', '--format', format, '--output', at(path)],
    );
    assert.deepEqual([report.entries, report.bytes, report.notKept], [7, 50_002, []]);
    assert.equal(report.rootHash, first.rootCatalog);
    await json('repo', 'create', name, '--storage', at(name), '--chunks', '4k,8k,16k');
    await json('publish', name, at(path));
    assert.deepEqual(await dumpOf(name), await dumpOf(FQRN, '--tag', 'v1'));
  });
}

test('the same snapshot is the same bytes, in a file and on standard output', async () => {
  await json('export', FQRN, '--format', 'tar', '--output', at('one.tar'));
  execFileSync(
    'sh',
    [
      '-c',
      `"$@" > ${at('two.tar')}`,
      'sh',
      process.execPath,
      'src/cli/main.ts',
      'export',
      FQRN,
      '--format',
      'tar',
      '--output',
      '-',
      ...config,
    ],
    {
      cwd: join(import.meta.dirname, '../..'),
      stdio: 'ignore',
    },
  );
  assert.ok(readFileSync(at('one.tar')).equals(readFileSync(at('two.tar'))));
  const digests = [];
  for (const name of ['oci-1', 'oci-2']) {
    const args = ['--format', 'oci', '--platform', 'linux/arm64', '--output', at(name)];
    digests.push((await json<ExportReport>('export', FQRN, ...args)).digest);
  }
  assert.equal(digests[0], digests[1]);
});

test(
  'GNU tar unpacks an exported archive to the tree that was published',
  needs('root', 'attr'),
  async () => {
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'text', join(source, 'large')]);
    writeFileSync(Buffer.from(`${source}/\xff\xfe`, 'latin1'), 'no UTF-8');
    makeTree(join(source, 'n'.repeat(200)), dir({ ['m'.repeat(200)]: file('deep', { uid: 3_000_000_000 }) }));
    await json('publish', FQRN, source);
    await json('export', FQRN, '--format', 'tar', '--output', at('gnu.tar'));
    mkdirSync(at('gnu'));
    execFileSync('tar', ['-xpf', at('gnu.tar'), '--xattrs', '--xattrs-include=*', '-C', at('gnu')]);
    assert.deepEqual(readTree(at('gnu')), readTree(source));
  },
);

test('umoci unpacks an exported image to the tree that was published', needs('root', 'umoci'), async () => {
  await json('publish', FQRN, source, '--tag', 'image');
  await json('export', FQRN, '--format', 'oci', '--output', at('for-umoci'), '--tag', 'image');
  execFileSync('umoci', ['unpack', '--image', `${at('for-umoci')}:image`, at('bundle')], { stdio: 'pipe' });
  assert.deepEqual(readTree(join(at('bundle'), 'rootfs')), readTree(source));
});

test('"publish oci:PATH:TAG" publishes one image of a layout', async () => {
  await json('export', FQRN, '--format', 'oci', '--tag', 'v1', '--output', at('layout'));
  const published = await json<PublishResult>('publish', FQRN, `oci:${at('layout')}:v1`);
  assert.equal(published.changed, true);
  assert.deepEqual(await dumpOf(FQRN), await dumpOf(FQRN, '--tag', 'v1'));
  assertFails(await run('publish', FQRN, `oci:${at('layout')}:v2`), {
    code: 'NOT_FOUND',
    says: /^Cannot find image v2 in /,
    hint: /it has v1/,
  });
  assertFails(await run('publish', FQRN, at('layout'), '--platform', 'linux/riscv64'), {
    code: 'NOT_FOUND',
    says: /not linux\/riscv64$/,
  });
  assertFails(await run('publish', FQRN, source, '--platform', 'linux/amd64'), {
    code: 'USAGE',
    says: /is no OCI image layout$/,
  });
});

test('a directory alone, with variables as a mount shows them', async () => {
  await json('export', FQRN, '--tag', 'v1', '--format', 'dir', '--path', '/usr', '--output', at('usr'));
  assert.deepEqual(readdirSync(at('usr')), ['bin']);
  const linkOf = async (...options: string[]) => {
    const { stdout } = await run(
      'export',
      FQRN,
      '--tag',
      'v1',
      '--format',
      'tar',
      '--output',
      '-',
      ...options,
    );
    return /\$\(PLACE:-usr\)\/bin|here\/bin/.exec(stdout)?.[0];
  };
  assert.equal(await linkOf(), '$(PLACE:-usr)/bin');
  assert.equal(await linkOf('--variable', 'PLACE=here'), 'here/bin');
});

test('what a format cannot keep is told', async () => {
  const folder = unpackFixture('basic', scratch);
  const args = [
    'export',
    folder,
    '--key',
    fixturePath('basic/basic.peer.test.pub'),
    '--format',
    'tar',
    '--output',
    '-',
  ];
  const { status, stderr } = await run(...args);
  assert.equal(status, 0);
  assert.match(stderr, /^not kept: socket of 1 entry, the first \/special\/sock: tar has none$/m);
  const quiet = await run(...args, '--json');
  const report = JSON.parse(quiet.stderr.trimEnd().split('\n').at(-1)!) as { notKept: object[] };
  assert.deepEqual(report.notKept, [
    { what: 'socket', count: 1, first: '/special/sock', why: 'tar has none' },
  ]);
});

test('external files come from their server, or it is said that they cannot', async () => {
  const folder = unpackFixture('external', scratch);
  const args = ['export', folder, '--key', fixturePath('external/external.peer.test.pub')];
  assertFails(await run(...args, '--format', 'dir', '--output', at('external-out')), {
    code: 'UNSUPPORTED',
    says: /its content is on an external server/,
    hint: /--external-server/,
  });
  assert.equal(
    readdirSync(scratch).some((name) => name.includes('external-out')),
    false,
  );
});

test('a damaged object ends an export, and nothing of it is there', async () => {
  const broken = at('broken/os.example.org');
  execFileSync('cp', ['-a', storage, join(at('.'), 'broken-copy')]);
  mkdirSync(at('broken'));
  execFileSync('mv', [at('broken-copy'), broken]);
  const chunks = execFileSync('find', [join(broken, 'data'), '-name', '*P'], { encoding: 'utf8' })
    .trim()
    .split('\n');
  assert.ok(chunks.length > 1);
  for (const chunk of chunks) writeFileSync(chunk, 'damaged');
  const key = ['--key', join(scratch, 'config/repositories', FQRN, `${FQRN}.pub`)];
  for (const format of ['dir', 'tar', 'oci']) {
    assertFails(
      await run('export', broken, ...key, '--tag', 'v1', '--format', format, '--output', at('half')),
      {
        code: 'INTEGRITY',
        says: /^Cannot use object/,
      },
    );
    assert.equal(
      readdirSync(scratch).some((name) => name.includes('half')),
      false,
    );
  }
  const { status, stdout } = await run(
    'export',
    broken,
    ...key,
    '--tag',
    'v1',
    '--format',
    'tar',
    '--output',
    '-',
  );
  assert.equal(status, 5);
  assert.equal(stdout.endsWith('\0'.repeat(1024)), false, 'an archive without its end');
});

test('a reader of the stream may leave', async (t) => {
  const child = startThimble(['export', FQRN, '--tag', 'v1', '--format', 'tar', '--output', '-', ...config]);
  t.after(() => void child.kill('SIGKILL'));
  child.stdout!.once('data', () => child.stdout!.destroy());
  const status = await new Promise((resolve) => child.once('exit', resolve));
  assert.equal(status, 0);
});

for (const [args, code, says] of [
  [['--format', 'zip', '--output', 'x'], 'USAGE', /^Cannot export as "zip"$/],
  [['--format', 'dir', '--output', '-'], 'USAGE', /^Cannot write dir to standard output$/],
  [['--format', 'tar'], 'USAGE', /^required option '--output <path>' not specified$/],
  [
    ['--format', 'tar', '--output', 'x', '--platform', 'linux/amd64'],
    'USAGE',
    /^Cannot use --platform: tar has none$/,
  ],
  [
    ['--format', 'oci', '--output', 'x', '--platform', 'linux'],
    'USAGE',
    /^Cannot use "linux" as a platform$/,
  ],
  [
    ['--format', 'tar', '--output', 'x', '--path', '/nothing'],
    'NOT_FOUND',
    /^Cannot export \/nothing: it is not in/,
  ],
  [
    ['--format', 'tar', '--output', 'x', '--path', '/large'],
    'USAGE',
    /^Cannot export \/large: it is not a directory$/,
  ],
  [['--format', 'tar', '--output', 'x', '--tag', 'nope'], 'NOT_FOUND', /^Cannot find tag "nope"/],
  [['--format', 'dir', '--output', '/'], 'CONFLICT', /^Cannot write \/: it exists$/],
  [['--format', 'tar', '--output', '/'], 'USAGE', /^Cannot write \/: it exists and is not a file$/],
  [['--format', 'tar', '--output', '/nothing/x'], 'STORAGE', /^Cannot write \/nothing\/x: ENOENT/],
] as const) {
  test(`"export ${args.join(' ')}" fails with ${code}`, async () => {
    const absolute = args.map((arg) => (arg === 'x' ? at('x') : arg));
    assertFails(await run('export', FQRN, '--tag', 'v1', ...absolute), { code, says });
  });
}

for (const [format, program, debianPackage] of [
  ['squashfs', 'mksquashfs', 'squashfs-tools'],
  ['erofs', 'mkfs.erofs', 'erofs-utils'],
] as const) {
  test(`format ${format} without its program says which package has it`, async () => {
    const bin = at(`bin-${format}`);
    mkdirSync(bin);
    const args = ['export', FQRN, '--format', format, '--output', at('image'), ...config];
    assertFails(await thimble(args, { env: { PATH: bin } }), {
      code: 'NOT_FOUND',
      says: new RegExp(`^Cannot make the image: ${program} is not installed`),
      hint: new RegExp(`apt-get install .*${debianPackage}$`),
    });
  });

  test(`format ${format} says what its program says`, async () => {
    const bin = at(`failing-${format}`);
    mkdirSync(bin);
    const script =
      '#!/bin/sh\n[ $# -lt 2 ] && { echo "version 4.7 --tar=X"; exit; }\nread -r line\necho no room >&2\nexit 9\n';
    writeFileSync(join(bin, program), script, { mode: 0o755 });
    const args = ['export', FQRN, '--format', format, '--output', at('image'), ...config];
    assertFails(await thimble(args, { env: { PATH: `${bin}:${process.env['PATH']}` } }), {
      code: 'STORAGE',
      says: new RegExp(`${program} ended with status 9: no room$`),
    });
    assert.equal(
      readdirSync(scratch).some((name) => name.includes('image.') || name === 'image'),
      false,
    );
  });
}

test('the newest EROFS programs get the archive', async () => {
  const bin = at('new-erofs');
  mkdirSync(bin);
  const script = `#!/bin/sh\n[ $# = 1 ] && { echo --tar=X; exit; }\necho "$SOURCE_DATE_EPOCH $*" >&2\nfor image; do :; done\ncat > "$image"\n`;
  writeFileSync(join(bin, 'mkfs.erofs'), script, { mode: 0o755 });
  const args = ['export', FQRN, '--tag', 'v1', '--format', 'erofs', '--output', at('as-tar'), ...config];
  const { status } = await thimble(args, { env: { PATH: `${bin}:${process.env['PATH']}` } });
  assert.equal(status, 0);
  await json('export', FQRN, '--tag', 'v1', '--format', 'tar', '--output', at('plain.tar'));
  assert.ok(readFileSync(at('as-tar')).equals(readFileSync(at('plain.tar'))));
});
