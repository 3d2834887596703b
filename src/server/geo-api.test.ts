import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { geoDatabase } from '../../test/support/geo-database.ts';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { GeoApi, type GeoAsker } from './geo-api.ts';
import { GeoDatabase } from './geo-database.ts';

const GENEVA = '192.0.2.1';
const CHICAGO = '198.51.100.1';
const SYDNEY = '203.0.113.1';
const NAMES: Readonly<Record<string, readonly string[]>> = {
  'geneva.example.org': [GENEVA],
  'chicago.example.org': [CHICAGO],
  'sydney.example.org': ['10.0.0.1', SYDNEY],
  'cdn.example.org': [SYDNEY],
  'ip.cdn.example.org': [GENEVA],
};
const MINUTE_MS = 60_000;

function setUp(t: TestContext) {
  const path = join(scratchFolder(t), 'geo.mmdb');
  writeFileSync(
    path,
    geoDatabase({
      '192.0.2.0/24': { location: { latitude: 46.2, longitude: 6.1 } },
      '198.51.100.0/24': { location: { latitude: 41.9, longitude: -87.6 } },
      '203.0.113.0/24': { location: { latitude: -33.9, longitude: 151.2 } },
    }),
  );
  const asked: string[] = [];
  const clock = { nowMs: 0 };
  const api = new GeoApi(GeoDatabase.open(path), {
    monotonicMs: () => clock.nowMs,
    resolve: async (name) => {
      asked.push(name);
      if (NAMES[name] === undefined) throw new Error('ENOTFOUND');
      return NAMES[name];
    },
  });
  return { api, asked, clock };
}

const from = (peerAddress: string, more: Partial<GeoAsker> = {}): GeoAsker => ({
  cloudflareAddress: undefined,
  forwardedFor: undefined,
  peerAddress,
  ...more,
});

const SERVERS = 'sydney.example.org,geneva.example.org,chicago.example.org';

test('answer() gives positions of servers, nearest first', async (t) => {
  const { api } = setUp(t);
  assert.equal(await api.answer(`x/${SERVERS}`, from(GENEVA)), '2,3,1\n');
  assert.equal(await api.answer(`x/${SERVERS}`, from(SYDNEY)), '1,3,2\n');
  assert.equal(await api.answer(`x/${CHICAGO},${GENEVA}`, from(GENEVA)), '2,1\n');
});

test('answer() puts servers that are not known last, in their order', async (t) => {
  const { api } = setUp(t);
  const long = 'a'.repeat(257);
  const list = `unknown.example.org,10.0.0.1,sydney.example.org,bad_name,${long},,geneva.example.org`;
  assert.equal(await api.answer(`x/${list}`, from(GENEVA)), '7,3,1,2,4,5,6\n');
});

test('answer() sorts proxies from the asker, and servers from the nearest proxy', async (t) => {
  const { api } = setUp(t);
  const list = `${SERVERS},+PXYSEP+,geneva.example.org,sydney.example.org`;
  assert.equal(await api.answer(`x/${list}`, from(SYDNEY)), '1,3,2,6,5,4\n');
  assert.equal(
    await api.answer(`x/${SERVERS},%2BPXYSEP%2B,unknown.example.org`, from(GENEVA)),
    '2,3,1,5,4\n',
  );
  assert.equal(await api.answer(`x/${SERVERS},+PXYSEP+`, from(GENEVA)), '2,3,1,4\n');
});

test('answer() takes the asker for the proxy that the caching string names', async (t) => {
  const { api } = setUp(t);
  assert.equal(await api.answer(`sydney.example.org/${SERVERS}`, from(GENEVA)), '1,3,2\n');
  assert.equal(await api.answer(`unknown.example.org/${SERVERS}`, from(GENEVA)), '2,3,1\n');
  assert.equal(await api.answer(`b6f1c0de/${SERVERS}`, from(GENEVA)), '2,3,1\n');
});

test('answer() believes Cloudflare, then the last of those who passed the request on', async (t) => {
  const { api } = setUp(t);
  const forwarded = from(CHICAGO, { forwardedFor: `${GENEVA}, ${SYDNEY}` });
  assert.equal(await api.answer(`x/${SERVERS}`, forwarded), '1,3,2\n');
  const cloudflare = from(CHICAGO, { cloudflareAddress: GENEVA, forwardedFor: SYDNEY });
  assert.equal(await api.answer(`x/${SERVERS}`, cloudflare), '2,3,1\n');
  assert.equal(await api.answer(`x/${SERVERS}`, from(CHICAGO, { forwardedFor: 'unknown' })), '3,2,1\n');
});

test('answer() asks behind Cloudflare for where servers really are', async (t) => {
  const { api } = setUp(t);
  const list = 'x/chicago.example.org,cdn.example.org';
  assert.equal(await api.answer(list, from(GENEVA)), '1,2\n');
  assert.equal(await api.answer(list, from(GENEVA, { cloudflareAddress: GENEVA })), '2,1\n');
});

test('answer() says so when it does not know where the asker is, or any server', async (t) => {
  const { api } = setUp(t);
  await assert.rejects(api.answer(`x/${SERVERS}`, from('10.0.0.1')), { code: 'NOT_FOUND' });
  await assert.rejects(api.answer('x/unknown.example.org', from(GENEVA)), { code: 'NOT_FOUND' });
});

test('answer() asks for a name once in five minutes, also for one that is not there', async (t) => {
  const { api, asked, clock } = setUp(t);
  const list = 'x/geneva.example.org,unknown.example.org';
  for (let i = 0; i < 3; i++) await api.answer(list, from(GENEVA));
  clock.nowMs += 5 * MINUTE_MS - 1;
  await api.answer(list, from(GENEVA));
  assert.deepEqual(asked.sort(), ['geneva.example.org', 'unknown.example.org']);
  clock.nowMs += 1;
  await api.answer(list, from(GENEVA));
  assert.equal(asked.length, 4);
});

test('answer() keeps to the order of the request where there is no database', async () => {
  const api = new GeoApi(undefined, {
    monotonicMs: () => 0,
    resolve: async () => assert.fail('asks for nothing'),
  });
  assert.equal(await api.answer(`x/${SERVERS}`, from('10.0.0.1')), '1,2,3\n');
  assert.equal(await api.answer(`x/a,b,+PXYSEP+,c,d`, from('10.0.0.1')), '1,2,4,5,3\n');
});

test('answer() refuses what is no such request', async (t) => {
  const { api } = setUp(t);
  const many = Array.from({ length: 65 }, (_, i) => `s${i}.example.org`).join(',');
  for (const path of ['', 'x', 'x/', 'x/a/b', `x/${many}`, 'x/+PXYSEP+,a', 'x/%ff', '%ff/a'])
    await assert.rejects(api.answer(path, from(GENEVA)), { code: 'USAGE' }, path.slice(0, 40));
});

test('answer() goes on for known servers while somebody makes up names by the hundred', async (t) => {
  const { api: known } = setUp(t);
  await known.answer(`x/${SERVERS}`, from(GENEVA));
  const path = join(scratchFolder(t), 'geo.mmdb');
  writeFileSync(path, geoDatabase({ '192.0.2.0/24': { location: { latitude: 46.2, longitude: 6.1 } } }));
  let lookups = 0;
  const api = new GeoApi(GeoDatabase.open(path), {
    monotonicMs: () => 0,
    resolve: () => {
      lookups++;
      return new Promise(() => {});
    },
  });
  for (let i = 0; i < 10; i++) {
    const names = Array.from({ length: 64 }, (_, k) => `s${i}-${k}.example.org`).join(',');
    void api.answer(`x/${names}`, from(GENEVA)).catch(() => {});
  }
  assert.equal(lookups, 256);
  assert.equal(await api.answer(`x/new.example.org,${GENEVA}`, from(GENEVA)), '2,1\n');
  assert.equal(lookups, 256);
});

test('answer() answers or refuses any text', async (t) => {
  const { api } = setUp(t);
  await fc.assert(
    fc.asyncProperty(fc.string(), fc.string(), async (path, forwardedFor) => {
      try {
        assert.match(await api.answer(path, from(GENEVA, { forwardedFor })), /^\d+(,\d+)*\n$/);
      } catch (error) {
        assert.ok(error instanceof ThimbleError && ['USAGE', 'NOT_FOUND'].includes(error.code));
      }
    }),
  );
});
