import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import type { ByteString } from '../core/bytes/byte-string.ts';
import { CatalogOrder, readCatalogOrder } from './catalog-order.ts';

test('CatalogOrder remembers paths in order, each once', (t) => {
  const file = join(scratchFolder(t), 'catalogs.json');
  assert.deepEqual(readCatalogOrder(file), []);
  const paths = ['/usr', '/not UTF-8: \xff\n', '/etc'] as ByteString[];
  const order = new CatalogOrder(file);
  for (const path of [...paths, paths[0]!]) order.add(path);
  assert.deepEqual(order.paths, paths);
  assert.deepEqual(new CatalogOrder(file).paths, paths);
});

test('a file that cannot be read or written is told of', (t) => {
  const scratch = scratchFolder(t);
  const folder = join(scratch, 'folder');
  mkdirSync(folder);
  assert.throws(() => new CatalogOrder(folder), { code: 'STORAGE', message: /Cannot read/ });
  const order = new CatalogOrder(join(scratch, 'none/catalogs.json'));
  assert.throws(() => order.add('/usr' as ByteString), { code: 'STORAGE', message: /Cannot write/ });
});
