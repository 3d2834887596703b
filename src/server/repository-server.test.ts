import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { RepositoryServer } from './repository-server.ts';

const FQRN = 'served.example.org';
const OBJECT = `data/ab/${'c'.repeat(38)}-shake128`;
const OBJECT_TEXT = '0123456789abcdefghij';
const MANIFEST_TEXT = 'a manifest';
const DAYS_SECONDS = 24 * 3600;

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

interface Served {
  readonly server: RepositoryServer;
  readonly folder: string;
  readonly log: PassThrough;
  /** Sends the path as it is: `fetch` would tidy it up. */
  ask(path: string, headers?: Record<string, string>, method?: string): Promise<Answer>;
  /** Below the repository. */
  askFile(path: string, headers?: Record<string, string>, method?: string): Promise<Answer>;
}

async function serve(t: TestContext): Promise<Served> {
  const outside = scratchFolder(t);
  const folder = join(outside, 'storage');
  const files = {
    [OBJECT]: OBJECT_TEXT,
    '.cvmfspublished': MANIFEST_TEXT,
    '.cvmfswhitelist': 'a whitelist',
    '.cvmfs_status.json': '{}',
    'data/txn/123-abc': 'half an object',
    'data/ab/readme': 'not an object',
    secret: 'a private key',
    '.htpasswd': 'a password',
    '../secret': 'outside',
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  const log = new PassThrough();
  const server = new RepositoryServer([{ fqrn: FQRN, folder }], {
    host: '127.0.0.1',
    port: 0,
    accessLog: log,
  });
  const { port } = new URL(await server.listen());
  const agent = new Agent({ keepAlive: false });
  t.after(() => server.close());
  const ask: Served['ask'] = (path, headers = {}, method = 'GET') =>
    new Promise((resolve, reject) => {
      const asking = request({ host: '127.0.0.1', port, path, method, headers, agent }, (answer) => {
        let body = '';
        answer.setEncoding('latin1').on('data', (text: string) => {
          body += text;
        });
        answer.on('end', () => resolve({ status: answer.statusCode!, headers: answer.headers, body }));
      });
      asking.on('error', reject).end();
    });
  return { server, folder, log, ask, askFile: (path, ...rest) => ask(`/cvmfs/${FQRN}/${path}`, ...rest) };
}

test('the server gives objects, for days, as bytes', async (t) => {
  const { askFile } = await serve(t);
  const { status, headers, body } = await askFile(OBJECT);
  assert.equal(status, 200);
  assert.equal(body, OBJECT_TEXT);
  assert.equal(headers['content-length'], String(OBJECT_TEXT.length));
  assert.equal(headers['content-type'], 'application/octet-stream');
  assert.equal(headers['cache-control'], `public, max-age=${3 * DAYS_SECONDS}, immutable`);
  assert.equal(headers['accept-ranges'], 'bytes');
  assert.equal(headers['content-encoding'], undefined);
});

for (const [path, type] of [
  ['.cvmfspublished', 'application/x-cvmfs'],
  ['.cvmfswhitelist', 'application/x-cvmfs'],
  ['.cvmfs_status.json', 'application/json'],
] as const) {
  test(`the server gives ${path} for a minute`, async (t) => {
    const { headers, status } = await (await serve(t)).askFile(path);
    assert.equal(status, 200);
    assert.equal(headers['cache-control'], 'public, max-age=61');
    assert.match(headers['content-type']!, new RegExp(`^${type}`));
  });
}

test('the server sees a manifest that has been replaced at once', async (t) => {
  const { folder, askFile } = await serve(t);
  const etag = (await askFile('.cvmfspublished')).headers.etag!;
  writeFileSync(join(folder, '.cvmfspublished'), 'the next manifest');
  const { status, body } = await askFile('.cvmfspublished', { 'If-None-Match': etag });
  assert.deepEqual([status, body], [200, 'the next manifest']);
});

test('the server answers HEAD with the header alone', async (t) => {
  const { askFile } = await serve(t);
  const head = await askFile(OBJECT, {}, 'HEAD');
  assert.deepEqual([head.status, head.body], [200, '']);
  assert.equal(head.headers['content-length'], String(OBJECT_TEXT.length));
  assert.equal((await askFile('data/ab/missing', {}, 'HEAD')).status, 404);
});

const RANGES = [
  ['bytes=0-3', 206, '0123', 'bytes 0-3/20'],
  ['bytes=4-', 206, '456789abcdefghij', 'bytes 4-19/20'],
  ['bytes=-5', 206, 'fghij', 'bytes 15-19/20'],
  ['bytes=10-1000', 206, 'abcdefghij', 'bytes 10-19/20'],
  ['bytes=20-', 416, undefined, 'bytes */20'],
  ['lines=1-2', 200, OBJECT_TEXT, undefined],
] as const;

for (const [range, status, body, contentRange] of RANGES) {
  test(`the server answers a request for ${range} with ${status}`, async (t) => {
    const answer = await (await serve(t)).askFile(OBJECT, { Range: range });
    assert.equal(answer.status, status);
    assert.equal(answer.headers['content-range'], contentRange);
    if (body !== undefined) assert.equal(answer.body, body);
  });
}

test('the server says 304 to who has the file already', async (t) => {
  const { askFile } = await serve(t);
  for (const path of [OBJECT, '.cvmfspublished']) {
    const { etag = '', 'last-modified': modified = '' } = (await askFile(path)).headers;
    assert.ok(etag !== '' && modified !== '');
    for (const headers of [
      { 'If-None-Match': etag },
      { 'If-Modified-Since': modified },
      { 'If-None-Match': '*' },
    ]) {
      const { status, body } = await askFile(path, headers);
      assert.deepEqual([status, body], [304, ''], JSON.stringify(headers));
    }
    for (const headers of [
      { 'If-None-Match': '"other"' },
      { 'If-Modified-Since': new Date(0).toUTCString() },
    ]) {
      assert.equal((await askFile(path, headers)).status, 200, JSON.stringify(headers));
    }
  }
});

const HIDDEN = [
  '',
  'secret',
  '.htpasswd',
  'data',
  'data/',
  'data/ab/',
  'data/ab/readme',
  'data/txn/123-abc',
  '../secret',
  '../../secret',
  '%2e%2e/secret',
  '..%2fsecret',
  '%2e%2e%2fsecret',
  '..%5csecret',
  '..%252fsecret',
  'data/../secret',
  'data/ab/../../secret',
  `data/ab/..%2f..%2fsecret`,
  `/${OBJECT}`,
  `./${OBJECT}`,
  `data//ab/${'c'.repeat(38)}-shake128`,
  `${OBJECT}/`,
  `${OBJECT}?x=1`,
  `${OBJECT}%00`,
  `${OBJECT}%0a`,
  `${OBJECT.replace('data', 'DATA')}`,
  `data/AB/${'c'.repeat(38)}-shake128`,
  '%2ecvmfspublished',
  '.cvmfspublished%00',
  '.cvmfspublished/',
  '.cvmfspublished/../secret',
  '.cvmfspublished.bak',
] as const;

for (const path of HIDDEN) {
  test(`the server does not give ${JSON.stringify(path)}`, async (t) => {
    const { status, body } = await (await serve(t)).askFile(path);
    assert.ok(status === 404 || status === 400, `status ${status}`);
    for (const text of [
      OBJECT_TEXT,
      MANIFEST_TEXT,
      'a private key',
      'a password',
      'outside',
      'half',
      'not an object',
    ]) {
      assert.ok(!body.includes(text));
    }
  });
}

test('the server gives nothing of other repositories or of itself', async (t) => {
  const { ask } = await serve(t);
  for (const path of [
    '/',
    '/cvmfs',
    '/cvmfs/',
    `/cvmfs/${FQRN}`,
    '/cvmfs/other.example.org/.cvmfspublished',
    `/cvmfs/other.example.org/../${FQRN}/.cvmfspublished`,
    `//cvmfs/${FQRN}/.cvmfspublished`,
    '/etc/passwd',
    '/../../etc/passwd',
    '/.cvmfspublished',
  ]) {
    assert.equal((await ask(path)).status, 404, path);
  }
});

test('the server says 404 in plain text', async (t) => {
  const { status, headers, body } = await (await serve(t)).askFile(`data/00/${'0'.repeat(38)}`);
  assert.deepEqual([status, body], [404, 'Not found\n']);
  assert.match(headers['content-type']!, /^text\/plain/);
});

for (const [what, path, headers] of [
  ['that an object is missing', `data/00/${'0'.repeat(38)}`, {}],
  ['that there is no whitelist', '.cvmfswhitelist.pkcs7', {}],
  ['that a path is none of its own', 'secret', {}],
  ['that a range is wrong', OBJECT, { Range: 'bytes=20-' }],
] as const) {
  test(`the server does not let caches keep ${what}`, async (t) => {
    const answer = await (await serve(t)).askFile(path, headers);
    assert.ok(answer.status >= 400);
    assert.equal(answer.headers['cache-control'], 'no-cache');
  });
}

test('the server takes GET and HEAD only', async (t) => {
  const { askFile } = await serve(t);
  for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
    assert.ok((await askFile(OBJECT, {}, method)).status >= 400, method);
  }
});

test('the server refuses names that are no repository', () => {
  assert.throws(
    () => new RepositoryServer([{ fqrn: '../etc', folder: '/' }], { host: '127.0.0.1', port: 0 }),
    {
      code: 'USAGE',
    },
  );
});

test('the server says STORAGE when its port is taken', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.after(() => other.close());
  const { port } = other.address() as { port: number };
  const server = new RepositoryServer([], { host: '127.0.0.1', port });
  t.after(() => server.close());
  await assert.rejects(server.listen(), { code: 'STORAGE', hint: /--port/, message: new RegExp(`${port}`) });
});

test('the server serves several repositories, each its own files', async (t) => {
  const folders = ['one.example.org', 'two.example.org'].map((fqrn) => {
    const folder = scratchFolder(t);
    writeFileSync(join(folder, '.cvmfspublished'), fqrn);
    return { fqrn, folder };
  });
  const server = new RepositoryServer(folders, { host: '127.0.0.1', port: 0 });
  const address = await server.listen();
  t.after(() => server.close());
  for (const { fqrn } of folders) {
    const answer = await fetch(`${address}/cvmfs/${fqrn}/.cvmfspublished`, {
      headers: { Connection: 'close' },
    });
    assert.equal(await answer.text(), fqrn);
  }
});

test('totals() counts requests and the bytes of their bodies', async (t) => {
  const { server, askFile } = await serve(t);
  await askFile(OBJECT);
  await askFile(OBJECT, { Range: 'bytes=0-3' });
  await askFile(OBJECT, {}, 'HEAD');
  const { etag = '' } = (await askFile('.cvmfspublished')).headers;
  await askFile('.cvmfspublished', { 'If-None-Match': etag });
  assert.deepEqual(server.totals(), { requests: 5, bytes: OBJECT_TEXT.length + 4 + MANIFEST_TEXT.length });
});

test('/metrics tells requests, bytes and times for Prometheus', async (t) => {
  const { ask, askFile } = await serve(t);
  await askFile(OBJECT);
  await askFile('.cvmfspublished');
  await askFile('nothing');
  const { status, headers, body } = await ask('/metrics');
  assert.equal(status, 200);
  assert.match(headers['content-type']!, /^text\/plain/);
  const bytes = OBJECT_TEXT.length + MANIFEST_TEXT.length + 'Not found\n'.length;
  for (const line of [
    `thimble_http_requests_total{repository="${FQRN}",status="200"} 2`,
    `thimble_http_requests_total{repository="${FQRN}",status="404"} 1`,
    `thimble_http_body_bytes_total{repository="${FQRN}"} ${bytes}`,
    'thimble_http_request_seconds_count 3',
  ]) {
    assert.ok(body.split('\n').includes(line), `${line} is in\n${body}`);
  }
});

test('/metrics does not grow with names that callers make up', async (t) => {
  const { ask } = await serve(t);
  for (let i = 0; i < 20; i++) await ask(`/cvmfs/made-up-${i}.example.org/.cvmfspublished`);
  const { body } = await ask('/metrics');
  assert.doesNotMatch(body, /made-up/);
  assert.match(body, /thimble_http_requests_total\{repository="",status="404"\} 20\n/);
});

test('the access log has a JSON line for each request', async (t) => {
  const { log, askFile } = await serve(t);
  await askFile(OBJECT);
  await askFile('nothing"\\n', {}, 'HEAD').catch(() => {});
  await askFile('..%2fsecret');
  const lines = (log.read() as Buffer)
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(lines.length, 3);
  const { ms, time, ...rest } = lines[0]!;
  assert.deepEqual(rest, {
    level: 30,
    method: 'GET',
    url: `/cvmfs/${FQRN}/${OBJECT}`,
    status: 200,
    bytes: OBJECT_TEXT.length,
    client: '127.0.0.1',
  });
  assert.ok(typeof ms === 'number' && ms >= 0);
  assert.ok(typeof time === 'number' && Math.abs(time - Date.now()) < 60_000);
  assert.equal(lines[2]!['status'], 404);
});

test('close() lets a running request finish', async (t) => {
  const { server, folder, askFile } = await serve(t);
  const large = `data/ab/${'d'.repeat(38)}`;
  writeFileSync(join(folder, large), Buffer.alloc(3_000_000, 'x'));
  const asking = askFile(large);
  await new Promise<void>((resolve) => setImmediate(resolve));
  const [answer] = await Promise.all([asking, asking.then(() => server.close())]);
  assert.equal(answer.body.length, 3_000_000);
  await assert.rejects(askFile(large), { code: 'ECONNREFUSED' });
});

test('the server gives a symlink in the storage what it leads to within it', async (t) => {
  const { folder, askFile } = await serve(t);
  const other = `data/ab/${'e'.repeat(38)}`;
  symlinkSync(`${'c'.repeat(38)}-shake128`, join(folder, other));
  assert.equal((await askFile(other)).body, OBJECT_TEXT);
});
