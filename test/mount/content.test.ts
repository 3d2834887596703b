import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CliRepository } from '../support/cli-repository.ts';
import { fixturePath, unpackFixture } from '../support/fixtures.ts';
import { needs } from '../support/needs.ts';
import { scratchFolder } from '../support/scratch.ts';
import { thimbleJson } from '../support/thimble.ts';
import { dir, makeTree, symlink } from '../support/trees.ts';
import { startNginx } from '../support/web-servers.ts';

describe('where the content of a mount comes from', needs('fuse'), () => {
  test('external files come from a web server, once', needs('nginx'), async (t) => {
    const scratch = scratchFolder(t);
    const repository = unpackFixture('external', scratch);
    const data = unpackFixture('external', scratch, 'external-data.tar.zst', 'ext-data/external.peer.test');
    const url = await startNginx(t, 'ext-data', data);
    const mount = async (name: string, options: readonly string[]) => {
      const folder = join(scratch, name);
      mkdirSync(folder);
      const key = fixturePath('external/external.peer.test.pub');
      const cache = ['--cache', join(scratch, 'cache')];
      await thimbleJson(['mount', repository, folder, '--key', key, ...cache, ...options]);
      return (path: string) => readFileSync(join(folder, path));
    };
    const read = await mount('with', ['--external-server', url]);
    for (const path of ['small', 'seq', 'empty', 'sub/rnd', 'sub/with space+%41'])
      assert.ok(read(path).equals(readFileSync(join(data, path))), path);

    const log = join(scratch, 'log');
    const readWithout = await mount('without', ['--log', log]);
    assert.ok(readWithout('small').equals(read('small')), 'it is in the cache');
    const elsewhere = await mount('nothing-cached', ['--log', log, '--cache', join(scratch, 'other')]);
    assert.throws(() => elsewhere('small'), { code: 'EIO' });
    assert.match(readFileSync(log, 'utf8'), /\/small.*external server.*--external-server/);
  });

  test('symlinks show variables that were named, and none of the environment', async (t) => {
    const scratch = scratchFolder(t);
    const [source, mountpoint] = [join(scratch, 'source'), join(scratch, 'mount')];
    mkdirSync(mountpoint);
    makeTree(
      source,
      dir({
        named: symlink('$(NAMED)/x'),
        path: symlink('$(PATH:-nothing)'),
        fqrn: symlink('$(CVMFS_FQRN)'),
      }),
    );
    const repository = await CliRepository.create(scratch);
    await repository.publish(source);
    await repository.mount(mountpoint, ['--variable', 'NAMED=a=b', '--variable', 'CVMFS_FQRN=other']);
    const linkOf = (name: string) => readlinkSync(join(mountpoint, name));
    assert.deepEqual(['named', 'path', 'fqrn'].map(linkOf), ['a=b/x', 'nothing', CliRepository.FQRN]);
  });
});
