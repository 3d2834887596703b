import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { scratchFolder } from '../../test/support/scratch.ts';
import { debianMirrors } from './debian-mirrors.ts';

const DEFAULT = [
  'deb http://deb.debian.org/debian bookworm main',
  'deb http://deb.debian.org/debian bookworm-updates main',
  'deb http://deb.debian.org/debian-security bookworm-security main',
];

function setVariable(t: TestContext, name: string, value: string): void {
  const before = process.env[name];
  process.env[name] = value;
  t.after(() => {
    if (before === undefined) delete process.env[name];
    else process.env[name] = before;
  });
}

/** Puts a shell script in the place of apt-get, or nothing. */
function fakeApt(t: TestContext, script: string | undefined): void {
  const folder = scratchFolder(t);
  if (script !== undefined) {
    writeFileSync(join(folder, 'apt-get'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  setVariable(t, 'PATH', folder);
}

describe('debianMirrors()', () => {
  const sites: readonly [what: string, sites: readonly string[], archive: string, security: string][] = [
    [
      'the mirrors of this machine',
      ['http://mirror.example.org/debian', 'http://mirror.example.org/debian-security'],
      'http://mirror.example.org/debian',
      'http://mirror.example.org/debian-security',
    ],
    [
      'addresses with a slash at their end',
      ['https://mirror.example.org/debian/', 'https://security.example.org/debian-security/'],
      'https://mirror.example.org/debian/',
      'https://security.example.org/debian-security/',
    ],
    [
      'the first of several',
      ['http://a.example/debian', 'http://b.example/debian', 'http://c.example/debian-security'],
      'http://a.example/debian',
      'http://c.example/debian-security',
    ],
    [
      'security fixes from beside the archive, where nothing else is said',
      ['http://mirror.example.org/debian'],
      'http://mirror.example.org/debian',
      'http://mirror.example.org/debian-security',
    ],
    [
      'nothing from archives that are not of Debian',
      [
        'https://deb.nodesource.com/node_20.x',
        'http://archive.ubuntu.com/ubuntu',
        'file:/srv/debian',
        'cdrom:debian',
      ],
      'http://deb.debian.org/debian',
      'http://deb.debian.org/debian-security',
    ],
  ];
  for (const [what, given, archive, security] of sites) {
    test(`debianMirrors() takes ${what}`, async (t) => {
      fakeApt(t, given.map((site) => `echo '${site}'`).join('\n'));
      assert.deepEqual(await debianMirrors('trixie'), [
        `deb ${archive} trixie main`,
        `deb ${archive} trixie-updates main`,
        `deb ${security} trixie-security main`,
      ]);
    });
  }

  for (const [what, script] of [
    ['there is no apt', undefined],
    ['apt fails', 'echo http://broken.example/debian; exit 100'],
    ['apt knows no archives', 'exit 0'],
  ] as const) {
    test(`debianMirrors() takes the mirrors of Debian where ${what}`, async (t) => {
      fakeApt(t, script);
      assert.deepEqual(await debianMirrors('bookworm'), DEFAULT);
    });
  }
});

describe('debianMirrors() and the apt of the system', {
  skip: existsSync('/usr/bin/apt-get') ? false : 'needs apt',
}, () => {
  /** Makes apt read these sources, as if it had fetched their lists before. */
  function configureApt(t: TestContext, file: string, sources: string): void {
    const folder = scratchFolder(t);
    for (const name of ['sources', 'lists/partial', 'conf'])
      mkdirSync(join(folder, name), { recursive: true });
    writeFileSync(join(folder, 'sources', file), sources);
    for (const [host, path] of [
      ['mirror.example.org', 'debian'],
      ['security.example.org', 'debian-security'],
      ['ppa.example.org', 'things'],
    ]) {
      for (const suite of ['bookworm', 'bookworm-security']) {
        writeFileSync(
          join(folder, 'lists', `${host}_${path}_dists_${suite}_main_binary-amd64_Packages`),
          'Package: none\n',
        );
      }
    }
    const settings = {
      'Dir::Etc::sourcelist': '/dev/null',
      'Dir::Etc::sourceparts': join(folder, 'sources'),
      'Dir::State::lists': join(folder, 'lists'),
      'APT::Architecture': 'amd64',
    };
    const config = join(folder, 'apt.conf');
    writeFileSync(
      config,
      [
        ...Object.entries(settings).map(([key, value]) => `${key} "${value}";`),
        '#clear APT::Architectures;',
        'APT::Architectures {"amd64";};',
      ].join('\n'),
    );
    setVariable(t, 'APT_CONFIG', config);
  }

  const sources: readonly [file: string, text: string][] = [
    [
      'a.list',
      '# deb http://commented.example.org/debian bookworm main\ndeb [arch=amd64] https://mirror.example.org/debian bookworm main # main\ndeb-src http://src.example.org/debian bookworm main\ndeb https://security.example.org/debian-security bookworm-security main\n',
    ],
    [
      'b.sources',
      'Types: deb deb-src\nURIs: https://mirror.example.org/debian\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs: http://disabled.example.org/debian\nSuites: bookworm\nComponents: main\nEnabled: no\n\nTypes: deb\nURIs: https://security.example.org/debian-security\nSuites: bookworm-security\nComponents: main\n\nTypes: deb\nURIs: https://ppa.example.org/things\nSuites: bookworm\nComponents: main\n',
    ],
  ];
  for (const [file, text] of sources) {
    test(`debianMirrors() understands ${file === 'a.list' ? 'sources.list' : 'deb822 sources'}`, async (t) => {
      configureApt(t, file, text);
      assert.deepEqual(await debianMirrors('trixie'), [
        'deb https://mirror.example.org/debian trixie main',
        'deb https://mirror.example.org/debian trixie-updates main',
        'deb https://security.example.org/debian-security trixie-security main',
      ]);
    });
  }
});
