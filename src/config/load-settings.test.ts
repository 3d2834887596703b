import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { scratchFolder } from '../../test/support/scratch.ts';
import { ThimbleError } from '../core/errors.ts';
import { parseFqrn } from '../core/fqrn.ts';
import type { ClientSettings } from './client-settings.ts';
import type { GivenSetting } from './layers.ts';
import { loadClientSettings, readConfiguration } from './load-settings.ts';
import { parseMountOptions } from './mount-options.ts';
import type { SettingName } from './setting-table.ts';

const FQRN = parseFqrn('os.example.org');

interface Scene {
  readonly folder: string;
  write(path: string, text: string): void;
  load(
    flags?: Readonly<Record<string, string>>,
    environment?: Readonly<Record<string, string>>,
  ): ClientSettings;
  errors(): readonly ThimbleError[];
}

/** A machine with `cvmfs/` for `/etc/cvmfs` and `own/` for `/etc/thimble`. */
function scene(t: TestContext): Scene {
  const folder = scratchFolder(t);
  const options = { configFolder: join(folder, 'own'), cvmfsConfig: join(folder, 'cvmfs') };
  mkdirSync(join(folder, 'cvmfs'));
  return {
    folder,
    write(path, text) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    },
    load: (flags = {}, environment = {}) =>
      loadClientSettings(FQRN, given(flags), { ...options, environment }),
    errors: () => readConfiguration(FQRN, new Map(), { ...options, environment: {} }).errors,
  };
}

const given = (flags: Readonly<Record<string, string>>): ReadonlyMap<SettingName, GivenSetting> =>
  new Map(Object.entries(flags).map(([name, text]) => [name as SettingName, { text, where: `--${name}` }]));

const originOf = (settings: ClientSettings, name: SettingName) =>
  settings.effective.find((setting) => setting.name === name)?.origin;

/** Each place that can say a number, weakest first. */
const PLACES: readonly {
  readonly name: string;
  readonly say: (at: Scene, value: number) => void;
  readonly flags?: (value: number) => Record<string, string>;
  readonly environment?: (value: number) => Record<string, string>;
  readonly where: string;
}[] = [
  ...[
    'default.conf',
    'default.d/10-a.conf',
    'default.d/20-b.conf',
    'default.local',
    'domain.d/example.org.conf',
  ]
    .concat(['domain.d/example.org.local', 'config.d/os.example.org.conf', 'config.d/os.example.org.local'])
    .map((name) => ({
      name,
      say: (at: Scene, value: number) => at.write(`cvmfs/${name}`, `CVMFS_MAX_RETRIES=${value}\n`),
      where: `cvmfs/${name}:1`,
    })),
  {
    name: 'client.yaml',
    say: (at, value) => at.write('own/client.yaml', `network:\n  maxRetries: ${value}\n`),
    where: 'own/client.yaml:2',
  },
  {
    name: 'client.d',
    say: (at, value) => at.write('own/client.d/a.yaml', `network: {maxRetries: ${value}}\n`),
    where: 'own/client.d/a.yaml:1',
  },
  {
    name: 'domain of ours',
    say: (at, value) =>
      at.write('own/client.d/b.yaml', `domains:\n  example.org:\n    network:\n      maxRetries: ${value}\n`),
    where: 'own/client.d/b.yaml:4',
  },
  {
    name: 'repository of ours',
    say: (at, value) =>
      at.write(
        'own/client.d/c.yaml',
        `repositories:\n  os.example.org:\n    network:\n      maxRetries: ${value}\n`,
      ),
    where: 'own/client.d/c.yaml:4',
  },
  {
    name: 'environment',
    say: () => {},
    environment: (value) => ({ THIMBLE_NETWORK_MAX_RETRIES: String(value) }),
    where: 'THIMBLE_NETWORK_MAX_RETRIES',
  },
  {
    name: 'flag',
    say: () => {},
    flags: (value) => ({ 'network.maxRetries': String(value) }),
    where: '--network.maxRetries',
  },
];

describe('precedence', () => {
  test('of any places that say something, the last one counts, and is named', (t) => {
    fc.assert(
      fc.property(fc.subarray(PLACES.map((_, index) => index)), (chosen) => {
        const at = scene(t);
        let flags = {};
        let environment = {};
        for (const index of chosen) {
          const place = PLACES[index]!;
          place.say(at, index + 1);
          flags = { ...flags, ...place.flags?.(index + 1) };
          environment = { ...environment, ...place.environment?.(index + 1) };
        }
        const settings = at.load(flags, environment);
        const last = chosen.at(-1);
        assert.equal(settings.network.maxRetries, last === undefined ? 1 : last + 1);
        const where = originOf(settings, 'network.maxRetries')?.where.replace(`${at.folder}/`, '');
        assert.equal(where, last === undefined ? 'default' : PLACES[last]!.where);
      }),
      { numRuns: 60 },
    );
  });

  test('sections for others say nothing', (t) => {
    const at = scene(t);
    at.write(
      'own/client.yaml',
      'repositories:\n  a.example.org: {mount: {suid: true}}\ndomains: {example.com: {mount: {dev: true}}}\n',
    );
    at.write('cvmfs/config.d/a.example.org.conf', 'CVMFS_SUID=yes');
    const { mount } = at.load();
    assert.deepEqual([mount.suid, mount.dev], [false, false]);
  });

  test('a snapshot that is chosen takes the place of any other choice', (t) => {
    const at = scene(t);
    at.write('cvmfs/default.local', 'CVMFS_REPOSITORY_TAG=v1\nCVMFS_REPOSITORY_DATE=2026-01-01T00:00:00Z');
    assert.deepEqual(at.load().selection, { tag: 'v1', dateSeconds: undefined, rootHash: undefined });
    const { selection } = at.load({ 'snapshot.date': '2026-11-22T12:00:00Z' });
    assert.deepEqual(selection, { tag: undefined, dateSeconds: 1795348800, rootHash: undefined });
  });
});

describe('parameters of CernVM-FS', () => {
  const rows: readonly (readonly [
    text: string,
    value: (settings: ClientSettings) => unknown,
    expected: unknown,
  ])[] = [
    [
      'CVMFS_SERVER_URL="http://a/@fqrn@;http://b/@org@"',
      (s) => s.network.servers,
      ['http://a/os.example.org', 'http://b/os'],
    ],
    [
      'CVMFS_HTTP_PROXY="a:1|http://b:2;DIRECT"',
      (s) => s.network.proxyGroups,
      [['http://a:1', 'http://b:2'], ['DIRECT']],
    ],
    [
      'CVMFS_TIMEOUT=7\nCVMFS_TIMEOUT_DIRECT=9',
      (s) => [s.network.proxyTimeoutMs, s.network.directTimeoutMs],
      [7000, 9000],
    ],
    ['CVMFS_HOST_RESET_AFTER=0', (s) => s.network.hostResetAfterMs, Number.POSITIVE_INFINITY],
    ['CVMFS_USE_GEOAPI=Yes', (s) => s.network.geoOrder, true],
    ['CVMFS_IPFAMILY_PREFER=6', (s) => s.network.ipFamily, 'prefer-6'],
    ['CVMFS_IPFAMILY_PREFER=6\nCVMFS_IPV4_ONLY=1', (s) => s.network.ipFamily, 'only-4'],
    [
      'CVMFS_FAILOVER_INDEFINITELY=yes',
      (s) => [s.offline.deadlineSeconds, s.network.deadlineMs],
      ['wait', Number.POSITIVE_INFINITY],
    ],
    ['CVMFS_QUOTA_LIMIT=4000', (s) => s.cache.limitBytes, 4000 * 1024 ** 2],
    ['CVMFS_QUOTA_LIMIT=-1', (s) => s.cache.limitBytes, Number.MAX_SAFE_INTEGER],
    ['CVMFS_CACHE_BASE=/var/lib/cvmfs', (s) => s.cache.folder, '/var/lib/cvmfs/thimble/objects'],
    ['CVMFS_CACHE_DIR=/c/@fqrn@', (s) => s.cache.folder, '/c/os.example.org/thimble/objects'],
    [
      'CVMFS_CACHE_PRIMARY=m\nCVMFS_CACHE_m_TYPE=ram\nCVMFS_CACHE_m_SIZE=64',
      (s) => [s.cache.folder, s.cache.limitBytes],
      [undefined, 64 * 1024 ** 2],
    ],
    [
      'CVMFS_CACHE_PRIMARY=t\nCVMFS_CACHE_t_TYPE=tiered\nCVMFS_CACHE_t_UPPER=u\nCVMFS_CACHE_t_LOWER=l\nCVMFS_CACHE_l_ALIEN=/shared\nCVMFS_CACHE_BASE=/c',
      (s) => [s.cache.folder, s.cache.lowerFolders],
      ['/c/thimble/objects', ['/shared/thimble/objects']],
    ],
    ['CVMFS_MAX_TTL=5', (s) => s.updates.maxTtlSeconds, 300],
    ['CVMFS_AUTO_UPDATE=no', (s) => s.updates.follow, false],
    ['CVMFS_HIDE_MAGIC_XATTRS=yes', (s) => s.mount.magicXattrs, 'never'],
    [
      'CVMFS_MAGIC_XATTRS_VISIBILITY=always\nCVMFS_HIDE_MAGIC_XATTRS=yes',
      (s) => s.mount.magicXattrs,
      'always',
    ],
    [
      'CVMFS_PUBLIC_KEY=/k/a.pub:/k/b.pub\nCVMFS_KEYS_DIR=/other',
      (s) => s.keyFiles,
      ['/k/a.pub', '/k/b.pub'],
    ],
    ['CVMFS_USYSLOG=/var/log/@org@.log', (s) => s.log.file, '/var/log/os.log'],
    ['CVMFS_DEBUGLOG=/tmp/x', (s) => [s.log.file, s.log.level], ['/tmp/x', 'debug']],
  ];
  for (const [text, value, expected] of rows) {
    test(JSON.stringify(text), (t) => {
      const at = scene(t);
      at.write('cvmfs/default.local', text);
      assert.deepEqual(value(at.load()), expected);
    });
  }

  const wrong: readonly (readonly [text: string, message: RegExp])[] = [
    ['\nCVMFS_TIMEOUT=soon', /default\.local:2: Cannot use "soon"/],
    ['CVMFS_SUID=perhaps', /default\.local:1: .*yes or no/],
    [
      'CVMFS_HTTP_PROXY=$(proxy)',
      /default\.local:1: Cannot tell CVMFS_HTTP_PROXY: it is the output of a command/,
    ],
    ['CVMFS_QUOTA_LIMIT=much', /CVMFS_QUOTA_LIMIT="much": it has to be a number of megabytes/],
    ['CVMFS_IPFAMILY_PREFER=5', /it has to be 4 or 6/],
    ['CVMFS_MAGIC_XATTRS_VISIBILITY=x', /rootonly, always or never/],
    ['CVMFS_CACHE_PRIMARY=x\nCVMFS_CACHE_x_TYPE=external', /posix, ram or tiered/],
    ['CVMFS_CACHE_PRIMARY=x\nCVMFS_CACHE_x_TYPE=tiered', /CVMFS_CACHE_x_UPPER/],
    ['CVMFS_SERVER_URL=nonsense', /default\.local:1: /],
    ['if x', /default\.local line 1/],
  ];
  for (const [text, message] of wrong) {
    test(`${JSON.stringify(text)} is refused with its place`, (t) => {
      const at = scene(t);
      at.write('cvmfs/default.local', text);
      assert.throws(
        () => at.load(),
        (error: unknown) => {
          assert.ok(error instanceof ThimbleError);
          assert.equal(error.code, 'FORMAT');
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  test('keys are those of all, and of the domain', (t) => {
    const at = scene(t);
    for (const name of [
      'a.pub',
      'example.org/b.pub',
      'example.com/c.pub',
      'os.example.org.ed25519pub',
      'x.example.org.ed25519pub',
    ])
      at.write(`cvmfs/keys/${name}`, '');
    const names = at.load().keyFiles.map((file) => file.slice(`${at.folder}/cvmfs/keys/`.length));
    assert.deepEqual(names, ['a.pub', 'os.example.org.ed25519pub', 'example.org/b.pub']);
  });

  test('a folder of keys without one is refused', (t) => {
    const at = scene(t);
    at.write('cvmfs/default.local', `CVMFS_KEYS_DIR=${at.folder}`);
    assert.throws(() => at.load(), { code: 'NOT_FOUND', message: /there is no \*\.pub in/ });
  });

  test('the files of a configuration repository that is mounted come before those of the machine', (t) => {
    const at = scene(t);
    at.write(
      'cvmfs/default.conf',
      `CVMFS_MOUNT_DIR=${at.folder}/mounts\nCVMFS_CONFIG_REPOSITORY=config.example.com\nCVMFS_CONFIG_REPO_REQUIRED=yes`,
    );
    assert.match(at.errors()[0]?.message ?? '', /config\.example\.com is not mounted/);
    const there = 'mounts/config.example.com/etc/cvmfs';
    at.write(`${there}/default.conf`, 'CVMFS_TIMEOUT=1\nCVMFS_MAX_RETRIES=1');
    at.write(`${there}/domain.d/example.org.conf`, 'CVMFS_MAX_RETRIES=2\nCVMFS_BACKOFF_MAX=9');
    at.write(`${there}/blacklist`, '');
    at.write('cvmfs/default.local', 'CVMFS_TIMEOUT=3');
    at.write(
      'cvmfs/domain.d/example.org.conf',
      'CVMFS_BACKOFF_MAX=8\nCVMFS_CONFIG_REPOSITORY=other.example.com',
    );
    const { network, blacklistFiles, findings } = at.load();
    assert.deepEqual([network.proxyTimeoutMs, network.maxRetries, network.backoffMaxMs], [3000, 2, 8000]);
    assert.deepEqual(blacklistFiles, [join(at.folder, there, 'blacklist')]);
    assert.match(findings[0]?.message ?? '', /too late here/);
  });

  test('what does nothing here is told of with why, and what nobody knows with what was meant', (t) => {
    const at = scene(t);
    at.write(
      'cvmfs/default.local',
      'CVMFS_NFILES=1\nCVMFS_HTTP_PROXI=DIRECT\nMY_SITE=x\nCVMFS_USE_CDN=no\nCVMFS_CACHE_x_TYPE=posix',
    );
    const { findings } = at.load();
    assert.deepEqual(
      findings.map(({ severity, where }) => [severity, where.split('/').at(-1)]),
      [
        ['note', 'default.local:1'],
        ['warning', 'default.local:2'],
      ],
    );
    assert.match(findings[1]?.message ?? '', /did you mean CVMFS_HTTP_PROXY\?/);
  });

  test('symlinks show what files say that everybody may read, and nothing of the environment', (t) => {
    const at = scene(t);
    at.write('cvmfs/default.local', 'SITE=here\nCVMFS_X=1\nA=$(x)');
    at.write('cvmfs/default.d/secret.conf', 'SECRET=x');
    chmodSync(join(at.folder, 'cvmfs/default.d/secret.conf'), 0o600);
    at.write('own/client.yaml', 'mount: {variables: {ARCH: x86_64}}');
    const { variables } = at.load({}, { HOME: '/root', PASSWORD: 'x' });
    assert.deepEqual(variables, { SITE: 'here', CVMFS_X: '1', ARCH: 'x86_64', CVMFS_FQRN: 'os.example.org' });
  });
});

describe('our own files', () => {
  const wrong: readonly (readonly [text: string, message: RegExp, hint?: RegExp])[] = [
    ['\nchache:\n  limit: 4G', /client\.yaml line 2: there is no setting "chache"/, /did you mean "cache"/],
    ['cache:\n  limt: 4G', /line 2: there is no setting "cache\.limt"/, /did you mean "limit"/],
    ['cache:\n  x: 1', /line 2: there is no setting "cache\.x"/, /known here: folder, limit/],
    ['cache:\n  limit: lots', /line 2: cache\.limit: Cannot use "lots" as a size/],
    ['cache:\n  folder: relative', /line 2: cache\.folder: .*a path from the root/],
    ['mount:\n  suid:\n    - 1', /line 2: mount\.suid: it has to be one value/],
    ['servers:\n  addresses:\n    a: 1', /line 2: servers\.addresses: it has to be a value or a list/],
    ['mount:\n  variables: 3', /line 2: mount\.variables: it has to be names with values/],
    ['repositories:\n  nodot:\n    cache: {}', /line 2: repositories\.nodot: /],
    [
      'domains:\n  example.org:\n    mont: {}',
      /line 3: there is no setting "domains\.example\.org\.mont"/,
      /"mount"/,
    ],
    ['a: [', /client\.yaml line 1: /],
    ['a: 1\na: 2', /client\.yaml line 2: /],
    ['- 1', /line 1: it has to be groups of settings/],
    ['network: {maxRetries: -1}', /network\.maxRetries: Cannot use "-1"/],
    ['a: &a [*a, *a]', /client\.yaml/],
  ];
  for (const [text, message, hint = /./] of wrong) {
    test(`${JSON.stringify(text)} is refused with file, line and key`, (t) => {
      const at = scene(t);
      at.write('own/client.yaml', text);
      const [error] = at.errors();
      assert.equal(error?.code, 'FORMAT');
      assert.match(error?.message ?? '', message);
      assert.match(error?.hint ?? 'none', hint);
    });
  }

  test('empty files, and groups without anything, say nothing', (t) => {
    const at = scene(t);
    at.write('own/client.yaml', 'cache:\nrepositories:\n  os.example.org:\n');
    at.write('own/client.d/empty.yaml', '');
    assert.deepEqual(at.errors(), []);
  });

  test('lists may be written as lists', (t) => {
    const at = scene(t);
    at.write(
      'own/client.yaml',
      'servers: {addresses: ["http://a/@fqrn@", "http://b/"]}\nproxies: {groups: [a:1|b:1, DIRECT]}\ncache: {limit: 64}',
    );
    const { network, cache } = at.load();
    assert.deepEqual(network.servers, ['http://a/os.example.org', 'http://b/']);
    assert.deepEqual(network.proxyGroups, [['http://a:1', 'http://b:1'], ['DIRECT']]);
    assert.equal(cache.limitBytes, 64 * 1024 ** 2);
  });
});

describe('environment and flags', () => {
  test('what cannot be used is refused by name', (t) => {
    const at = scene(t);
    assert.throws(() => at.load({ 'network.maxRetries': 'x' }), {
      code: 'USAGE',
      message: /^--network\.maxRetries: Cannot use "x"/,
    });
    assert.throws(() => at.load({}, { THIMBLE_MOUNT_SUID: 'x' }), {
      code: 'USAGE',
      message: /^THIMBLE_MOUNT_SUID: /,
    });
    assert.throws(() => at.load({ 'snapshot.rootHash': 'x' }), { code: 'USAGE' });
    assert.throws(() => at.load({ 'snapshot.date': 'x' }), { code: 'USAGE', message: /as a date/ });
  });

  test('variables that look like ours and are not are told of', (t) => {
    const { findings } = scene(t).load(
      {},
      { THIMBLE_CACHE_LIMIT: '1G', THIMBLE_CACHE_LIMITS: '1', THIMBLE_STATE: 'x' },
    );
    assert.deepEqual(
      findings.map(({ where, message }) => [where, /did you mean (\w+)/.exec(message)?.[1]]),
      [['THIMBLE_CACHE_LIMITS', 'THIMBLE_CACHE_LIMIT']],
    );
  });

  test('options of mount(8) are ours, those of all file systems, and those of the reference', () => {
    const { settings, cvmfsConfig } = parseMountOptions([
      'rw,nodev,_netdev,x-systemd.automount,tag=v1,config=/a:/b',
      'CVMFS_TIMEOUT=5,cache.limit=1G,mount.suid,proxy=a;b,"variable=A=1,2"',
    ]);
    const found = Object.fromEntries([...settings].map(([name, { text }]) => [name, text]));
    assert.deepEqual(found, {
      'mount.dev': 'no',
      'snapshot.tag': 'v1',
      'proxies.timeoutSeconds': '5',
      'cache.limit': '1G',
      'mount.suid': 'yes',
      'proxies.groups': 'a;b',
      'mount.variables': 'A=1,2',
    });
    assert.equal(cvmfsConfig, '/a:/b');
    assert.throws(() => parseMountOptions(['cache-sise=1']), { code: 'USAGE', hint: /cache-size/ });
    assert.throws(() => parseMountOptions(['zzzzzzzzz']), { code: 'USAGE', hint: /config show/ });
  });

  test('options that mount(8) makes of "user" count, and what follows them more', () => {
    const text = (option: string) =>
      [...parseMountOptions([option]).settings].map(([name, { text }]) => `${name}=${text}`);
    assert.deepEqual(text('user'), ['mount.suid=no', 'mount.dev=no', 'mount.exec=no']);
    assert.deepEqual(text('user,exec,mount.suid'), ['mount.suid=yes', 'mount.dev=no']);
  });

  test('files in place of the folder have to be there', () => {
    assert.throws(() => loadClientSettings(FQRN, new Map(), { cvmfsConfig: '/none.conf', environment: {} }), {
      code: 'NOT_FOUND',
    });
  });
});
