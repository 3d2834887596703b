import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { distance, orderByDistance } from './geo-order.ts';

const GENEVA = { latitude: 46.2, longitude: 6.1 };
const CHICAGO = { latitude: 41.9, longitude: -87.6 };
const SYDNEY = { latitude: -33.9, longitude: 151.2 };
const FIJI = { latitude: -17.8, longitude: 178 };
const SAMOA = { latitude: -13.8, longitude: -172 };
const EARTH_KM = 6371;

test('distance() is that of the great circle', () => {
  assert.equal(Math.round((distance(GENEVA, CHICAGO) * EARTH_KM) / 100), 70);
  assert.equal(Math.round((distance(GENEVA, SYDNEY) * EARTH_KM) / 100), 168);
  // Across the date line, not around the world.
  assert.ok(distance(FIJI, SAMOA) * EARTH_KM < 1200);
  assert.equal(distance(GENEVA, GENEVA), 0);
});

test('distance() is the same both ways, and never more than half way round', () => {
  const place = fc.record({
    latitude: fc.double({ min: -90, max: 90, noNaN: true }),
    longitude: fc.double({ min: -180, max: 180, noNaN: true }),
  });
  fc.assert(
    fc.property(place, place, (a, b) => {
      assert.ok(Math.abs(distance(a, b) - distance(b, a)) < 1e-9);
      assert.ok(distance(a, b) >= 0 && distance(a, b) <= Math.PI);
    }),
  );
});

test('orderByDistance() puts the nearest first', () => {
  assert.deepEqual(orderByDistance(GENEVA, [SYDNEY, CHICAGO, GENEVA]), [2, 1, 0]);
});

test('orderByDistance() keeps the given order of what is equally far, and of what is not known', () => {
  assert.deepEqual(
    orderByDistance(GENEVA, [undefined, CHICAGO, undefined, CHICAGO, GENEVA]),
    [4, 1, 3, 0, 2],
  );
  assert.deepEqual(orderByDistance(GENEVA, []), []);
});
