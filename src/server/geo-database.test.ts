import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { geoDatabase } from '../../test/support/geo-database.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { GeoDatabase } from './geo-database.ts';

function open(t: TestContext, bytes: Uint8Array): GeoDatabase {
  const path = join(scratchFolder(t), 'geo.mmdb');
  writeFileSync(path, bytes);
  return GeoDatabase.open(path);
}

test('placeOf() knows the addresses of a network, of both kinds', (t) => {
  const geneva = { latitude: 46.2, longitude: 6.1 };
  const database = open(
    t,
    geoDatabase({ '192.0.2.0/24': { location: geneva }, '2001:db8::/32': { location: geneva } }),
  );
  for (const address of ['192.0.2.0', '192.0.2.255', '2001:db8::1', '2001:db8:ffff::'])
    assert.deepEqual(database.placeOf(address), geneva, address);
  for (const address of ['192.0.3.0', '2001:db9::', '::1', 'example.org', ''])
    assert.equal(database.placeOf(address), undefined, address);
});

test('placeOf() passes over records that say no place', (t) => {
  const database = open(
    t,
    geoDatabase({
      '192.0.2.0/24': { country: 'CH' },
      '198.51.100.0/24': { location: { latitude: 1 } },
      '203.0.113.0/24': { location: { latitude: '46', longitude: '6' } },
    }),
  );
  for (const address of ['192.0.2.1', '198.51.100.1', '203.0.113.1'])
    assert.equal(database.placeOf(address), undefined, address);
});

test('GeoDatabase.open() says what is wrong with the file', (t) => {
  assert.throws(() => GeoDatabase.open(join(scratchFolder(t), 'missing.mmdb')), { code: 'NOT_FOUND' });
  assert.throws(() => open(t, Buffer.from('no database')), { code: 'FORMAT', hint: /GeoLite2/ });
});
