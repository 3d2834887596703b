import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { publishRepository } from '../../test/support/client-repository.ts';
import { fileScope } from '../../test/support/file-scope.ts';
import { dir, file } from '../../test/support/trees.ts';
import { hashBytes } from '../core/content-hash.ts';
import { MANIFEST_PATH } from '../core/manifest.ts';
import { WHITELIST_PATH } from '../core/whitelist.ts';
import { nodeHashing } from '../node/hashing.ts';
import { examine, type Finding, type Machine, type Patient, type Probe } from './doctor.ts';
import { thisMachine } from './doctor-machine.ts';
import { NETWORK_CHECKS } from './doctor-network.ts';
import type { MountReport } from './status-mounts.ts';

const repository = await publishRepository(fileScope());
await repository.publish(dir({ a: file('one') }));
const OLD_MANIFEST = readFileSync(join(repository.storage, MANIFEST_PATH));
await repository.publish(dir({ a: file('two') }));
const MANIFEST = readFileSync(join(repository.storage, MANIFEST_PATH));
const WHITELIST = readFileSync(join(repository.storage, WHITELIST_PATH));
const KEY = Buffer.from(repository.publicKey).toString();
const NOW = Date.now() / 1000;

const A = 'http://a/cvmfs/small.example.org';
const B = 'http://b/cvmfs/small.example.org';
const PROXY = 'http://proxy:3128';

const HEALTHY: Patient = {
  fqrn: repository.fqrn,
  mount: undefined,
  servers: [A, B],
  proxies: [],
  keyFiles: ['/key.pub'],
  cacheFolder: undefined,
  logFile: undefined,
  configuration: [],
};

interface Deviation {
  /** By server, or by server and proxy. */
  readonly answers?: Readonly<Record<string, Partial<Probe>>>;
  readonly unknownHosts?: readonly string[];
  readonly key?: string | undefined;
  readonly nowSeconds?: number;
}

/** A network on which all is well, but for what is named. */
function machine(deviation: Deviation = {}): Machine {
  const { answers = {}, unknownHosts = [], nowSeconds = NOW } = deviation;
  return {
    ...thisMachine(),
    readText: () => ('key' in deviation ? deviation.key : KEY),
    refusal: () => 'EACCES',
    nowSeconds: () => nowSeconds,
    resolve: async (host) => {
      if (unknownHosts.includes(host)) throw Object.assign(new Error('getaddrinfo'), { code: 'ENOTFOUND' });
      return ['192.0.2.1'];
    },
    probe: async (server, proxy, path) => ({
      server,
      proxy,
      failure: undefined,
      status: 200,
      body: path === WHITELIST_PATH ? WHITELIST : MANIFEST,
      dateSeconds: NOW,
      firstByteSeconds: 0.01,
      ...answers[server],
      ...answers[`${server} ${proxy}`],
    }),
  };
}

interface Case {
  readonly check: string;
  readonly what: string;
  readonly patient?: Partial<Patient>;
  readonly machine?: Deviation;
  readonly severity: Finding['severity'];
  readonly message: RegExp;
  readonly hint?: RegExp;
}

const refused = { failure: 'ECONNREFUSED', status: 0 };
const MONTHS = 90 * 24 * 3600;

const CASES: readonly Case[] = [
  {
    check: 'names',
    what: 'a name that nobody knows',
    machine: { unknownHosts: ['b'] },
    severity: 'error',
    message: /address of b: its name is not known/,
  },
  {
    check: 'names',
    what: 'a proxy that nobody knows',
    patient: { proxies: [PROXY] },
    machine: { unknownHosts: ['proxy'] },
    severity: 'error',
    message: /address of proxy/,
  },
  {
    check: 'servers',
    what: 'that no server answers',
    machine: { answers: { [A]: refused, [B]: refused } },
    severity: 'error',
    message: /Cannot reach http:\/\/a.*nothing listens there/,
  },
  {
    check: 'servers',
    what: 'that one of two does not answer',
    machine: { answers: { [B]: { failure: 'ENETUNREACH' } } },
    severity: 'warning',
    message: /Cannot reach http:\/\/b.*there is no network/,
  },
  {
    check: 'servers',
    what: 'an answer that nobody knows',
    patient: { servers: [A] },
    machine: { answers: { [A]: { failure: 'no answer within 5 s' } } },
    severity: 'error',
    message: /: no answer within 5 s/,
    hint: /curl/,
  },
  {
    check: 'servers',
    what: 'a repository that is not there',
    patient: { servers: [A] },
    machine: { answers: { [A]: { status: 404 } } },
    severity: 'error',
    message: /does not have this repository/,
  },
  {
    check: 'servers',
    what: 'a server that is ill',
    patient: { servers: [A] },
    machine: { answers: { [A]: { status: 503 } } },
    severity: 'error',
    message: /answers with status 503/,
  },
  {
    check: 'servers',
    what: 'a login page',
    patient: { servers: [A] },
    machine: { answers: { [A]: { body: Buffer.from('<html>') } } },
    severity: 'error',
    message: /something that is no manifest/,
    hint: /login page/,
  },
  {
    check: 'proxies',
    what: 'a proxy that is down',
    patient: { proxies: [PROXY] },
    machine: { answers: { [`${A} ${PROXY}`]: refused } },
    severity: 'warning',
    message: /Cannot use proxy http:\/\/proxy:3128: nothing listens there; without it the server answers/,
  },
  {
    check: 'proxies',
    what: 'a proxy that refuses',
    patient: { proxies: [PROXY] },
    machine: { answers: { [`${A} ${PROXY}`]: { status: 403 }, [A]: refused } },
    severity: 'warning',
    message: /it answers with status 403$|nothing listens/,
  },
  {
    check: 'mirrors',
    what: 'a mirror that is behind',
    machine: { answers: { [B]: { body: OLD_MANIFEST } } },
    severity: 'note',
    message: /http:\/\/b.* is behind: it has revision 1, the newest is 2/,
  },
  {
    check: 'clock',
    what: 'a clock that is ahead',
    machine: { nowSeconds: NOW + 7200 },
    severity: 'error',
    message: /120 minutes ahead of the servers/,
  },
  {
    check: 'clock',
    what: 'a clock that is behind',
    machine: { nowSeconds: NOW - 7200 },
    severity: 'error',
    message: /120 minutes behind the servers/,
  },
  {
    check: 'latency',
    what: 'a slow server',
    machine: { answers: { [A]: { firstByteSeconds: 2.5 } } },
    severity: 'warning',
    message: /slow: the first byte came after 2\.5 s/,
    hint: /put http:\/\/b.* first/,
  },
  {
    check: 'latency',
    what: 'slow servers',
    machine: { answers: { [A]: { firstByteSeconds: 2 }, [B]: { firstByteSeconds: 2 } } },
    severity: 'warning',
    message: /2\.0 s/,
    hint: /nearer/,
  },
  {
    check: 'keys',
    what: 'that there is no key',
    patient: { keyFiles: [] },
    severity: 'error',
    message: /There is no public key for small\.example\.org/,
  },
  {
    check: 'keys',
    what: 'a key that cannot be read',
    machine: { key: undefined },
    severity: 'error',
    message: /Cannot read key \/key\.pub: it may not be read/,
  },
  {
    check: 'keys',
    what: 'a key that is none',
    machine: { key: 'hello' },
    severity: 'error',
    message: /Cannot use key \/key\.pub/,
  },
  {
    check: 'whitelist',
    what: 'a whitelist that has expired',
    machine: { nowSeconds: NOW + MONTHS },
    severity: 'error',
    message: /expired/,
  },
  {
    check: 'whitelist',
    what: 'a whitelist that expires soon',
    machine: { nowSeconds: NOW + 28 * 24 * 3600 },
    severity: 'warning',
    message: /expires in \d+ hours/,
    hint: /repo resign/,
  },
  {
    check: 'whitelist',
    what: 'a whitelist of somebody else',
    machine: { answers: { [A]: { body: Buffer.from('x') } } },
    severity: 'error',
    message: /whitelist/,
  },
];

for (const { check, what, patient, machine: deviation, severity, message, hint } of CASES) {
  test(`the check "${check}" finds ${what}`, async () => {
    const checks = NETWORK_CHECKS.filter(({ name }) => name === check);
    const [result] = await examine({ ...HEALTHY, ...patient }, machine(deviation), checks);
    const [finding] = result!.findings;
    assert.equal(finding?.severity, severity);
    assert.match(finding.message, message);
    if (hint !== undefined) assert.match(finding.hint ?? '', hint);
  });
}

test('each check of the network has a test in which it finds something', () => {
  const tested = new Set(CASES.map(({ check }) => check));
  assert.deepEqual(
    NETWORK_CHECKS.map(({ name }) => name).filter((name) => !tested.has(name)),
    [],
  );
});

for (const [what, patient] of [
  ['servers and keys that are as they should be', {}],
  ['servers behind a proxy', { proxies: [PROXY] }],
  ['a machine with nothing mounted', { fqrn: undefined, servers: [], keyFiles: [] }],
] as const) {
  test(`nothing is found wrong with ${what}`, async () => {
    const results = await examine({ ...HEALTHY, ...patient }, machine(), NETWORK_CHECKS);
    assert.deepEqual(
      results.flatMap(({ findings }) => findings),
      [],
    );
  });
}

test('a mirror that is long behind is a warning', async () => {
  const checks = NETWORK_CHECKS.filter(({ name }) => name === 'mirrors');
  const stale = hashedAgain(OLD_MANIFEST.toString('latin1').replace(/^T.*$/m, 'T1600000000'));
  const [result] = await examine(HEALTHY, machine({ answers: { [B]: { body: stale } } }), checks);
  assert.equal(result!.findings[0]!.severity, 'warning');
  assert.match(result!.findings[0]!.message, /is behind: it has revision 1, the newest is 2, \d+ h younger/);
});

/** With the hash that its text has now; the signature, which the doctor leaves to others, is as it was. */
function hashedAgain(text: string): Buffer {
  const [body = ''] = text.split('--\n');
  const hash = hashBytes(
    nodeHashing,
    text.includes('-shake128') ? 'shake128' : 'sha1',
    Buffer.from(body, 'latin1'),
  );
  return Buffer.from(`${body}--\n${hash}\nsignature`, 'latin1');
}

test('a pinned mount needs no key', async () => {
  const mount = { state: 'alive', status: { snapshot: { isPinned: true } } } as unknown as MountReport;
  const checks = NETWORK_CHECKS.filter(({ name }) => name === 'keys');
  const [result] = await examine({ ...HEALTHY, keyFiles: [], mount }, machine(), checks);
  assert.deepEqual(result!.findings, []);
});

test('this machine probes web servers, folders and ways through proxies', async (t) => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.url} ${request.headers.host}`);
    response.end('manifest');
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const own = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { probe } = thisMachine();
  const direct = await probe(`${own}/cvmfs/x.y/`, 'DIRECT', MANIFEST_PATH);
  assert.equal(Buffer.from(direct.body).toString(), 'manifest');
  assert.equal(direct.status, 200);
  assert.ok(Math.abs(direct.dateSeconds! - Date.now() / 1000) < 60);
  await probe('http://far.invalid/cvmfs/x.y', own, MANIFEST_PATH);
  assert.deepEqual(
    seen.map((line) => line.split(' ')[0]),
    ['/cvmfs/x.y/.cvmfspublished', 'http://far.invalid/cvmfs/x.y/.cvmfspublished'],
  );
  assert.equal(await probe(own, 'DIRECT', 'x'), await probe(own, 'DIRECT', 'x'));
  const folder = await probe(`file://${repository.storage}`, 'DIRECT', MANIFEST_PATH);
  assert.deepEqual(folder.body, MANIFEST);
  const none = await probe('/no/such/folder', 'DIRECT', MANIFEST_PATH);
  assert.equal(none.failure, 'ENOENT');
});
