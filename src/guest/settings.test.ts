import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, ThimbleError } from '../core/errors.ts';
import {
  type GuestSettings,
  type ImageSettings,
  mergeSettings,
  parseImageSettings,
  parseOemStrings,
  parseSettings,
  splitCommandLine,
} from './settings.ts';

const HASH = '28d94b83'.padEnd(40, '0');
const OTHER_HASH = 'ffffffff'.padEnd(40, '0');

const IMAGE: ImageSettings = {
  fqrn: 'os.example.org',
  servers: ['http://one.example.org/cvmfs/@fqrn@', 'http://two.example.org/cvmfs/@fqrn@'],
  proxies: ['http://proxy.example.org:3128'],
};

const failsWith = (code: ErrorCode, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ThimbleError, `not one of our errors: ${error}`);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

describe('mergeSettings()', () => {
  const defaults: Readonly<Record<string, unknown>> = {
    fqrn: 'os.example.org',
    servers: ['http://one.example.org/cvmfs/os.example.org', 'http://two.example.org/cvmfs/os.example.org'],
    proxies: ['http://proxy.example.org:3128'],
    tag: undefined,
    rootHash: undefined,
    profile: undefined,
    minimumRevision: 0,
    formatDevice: undefined,
    withoutDisk: false,
    rescue: false,
  };

  test('mergeSettings() keeps the minimum revision of the image for its repository alone', () => {
    const image = { ...IMAGE, minimumRevision: 7 };
    assert.equal(mergeSettings(image, [], '').minimumRevision, 7);
    assert.equal(mergeSettings(image, [], 'thimble.minimum_revision=0').minimumRevision, 0);
    assert.equal(mergeSettings(image, [], 'thimble.repo=other.example.org').minimumRevision, 0);
  });

  test('mergeSettings() takes everything from the image when nobody says otherwise', () => {
    assert.deepEqual(mergeSettings(IMAGE, [], 'BOOT_IMAGE=/boot/vmlinuz quiet console=ttyS0'), defaults);
  });

  const parameters: readonly [word: string, changed: { readonly [K in keyof GuestSettings]?: unknown }][] = [
    [
      'thimble.repo=other.example.org',
      {
        fqrn: 'other.example.org',
        servers: [
          'http://one.example.org/cvmfs/other.example.org',
          'http://two.example.org/cvmfs/other.example.org',
        ],
      },
    ],
    ['thimble.server=http://a/cvmfs/@fqrn@', { servers: ['http://a/cvmfs/os.example.org'] }],
    [
      'thimble.server=http://a/x,http://b/y;http://c/z',
      { servers: ['http://a/x', 'http://b/y', 'http://c/z'] },
    ],
    ['thimble.server=http://a/x?q=1', { servers: ['http://a/x?q=1'] }],
    ['thimble.proxy=http://p:1;http://q:2', { proxies: ['http://p:1', 'http://q:2'] }],
    ['thimble.proxy=', { proxies: [] }],
    ['thimble.tag=v1.2', { tag: 'v1.2' }],
    [`thimble.root_hash=${HASH}-shake128`, { rootHash: `${HASH}-shake128` }],
    ['thimble.profile=boot', { profile: 'boot' }],
    ['thimble.minimum_revision=7', { minimumRevision: 7 }],
    ['thimble.format=/dev/vdb', { formatDevice: '/dev/vdb' }],
    ['thimble.nodisk', { withoutDisk: true }],
    ['thimble.rescue', { rescue: true }],
  ];
  for (const [word, changed] of parameters) {
    for (const source of ['machine', 'command line'] as const) {
      test(`mergeSettings() obeys ${word} of the ${source}`, () => {
        const settings =
          source === 'machine'
            ? mergeSettings(IMAGE, ['io.systemd.credential:a=b', word], 'quiet')
            : mergeSettings(IMAGE, [], `quiet ${word} console=ttyS0\n`);
        assert.deepEqual(settings, { ...defaults, ...changed });
      });
    }
  }

  test('mergeSettings() lets the machine override the image, and the command line both', () => {
    const image = { ...IMAGE, tag: 'of-image' };
    const tag = (machine: string[], line: string) => mergeSettings(image, machine, line).tag;
    assert.equal(tag([], ''), 'of-image');
    assert.equal(tag(['thimble.tag=of-machine'], ''), 'of-machine');
    assert.equal(tag(['thimble.tag=of-machine'], 'thimble.tag=of-line'), 'of-line');
    assert.equal(tag([], 'thimble.tag=first thimble.tag=second'), 'second');
  });

  type Names = { readonly tag?: string; readonly hash?: string };
  const selections: readonly [image: Names, machine: Names, line: Names, expected: Names][] = [
    [{ tag: 'i' }, {}, {}, { tag: 'i' }],
    [{ hash: HASH }, {}, {}, { hash: HASH }],
    [{ tag: 'i', hash: HASH }, {}, {}, { hash: HASH }],
    [{ hash: HASH }, { tag: 'm' }, {}, { tag: 'm' }],
    [{ tag: 'i' }, { hash: HASH }, {}, { hash: HASH }],
    [{ hash: HASH }, {}, { tag: 'l' }, { tag: 'l' }],
    [{}, { hash: HASH }, { tag: 'l' }, { tag: 'l' }],
    [{}, { tag: 'm' }, { hash: HASH }, { hash: HASH }],
    [{}, { hash: HASH }, { hash: OTHER_HASH }, { hash: OTHER_HASH }],
    [{}, { hash: HASH }, { hash: OTHER_HASH, tag: 'l' }, { hash: OTHER_HASH }],
    [{}, { hash: HASH, tag: 'm' }, {}, { hash: HASH }],
  ];
  for (const [image, machine, line, expected] of selections) {
    const words = ({ tag, hash }: Names) => [
      ...(tag === undefined ? [] : [`thimble.tag=${tag}`]),
      ...(hash === undefined ? [] : [`thimble.root_hash=${hash}`]),
    ];
    const name = [image, machine, line].map((names) => JSON.stringify(words(names))).join(' < ');
    test(`mergeSettings() boots ${JSON.stringify(words(expected))} of ${name}`, () => {
      const merged = mergeSettings(
        { ...IMAGE, tag: image.tag, rootHash: image.hash },
        words(machine),
        words(line).join(' '),
      );
      assert.deepEqual([merged.tag, merged.rootHash], [expected.tag, expected.hash]);
    });
  }

  const malformed: readonly [line: string, message: RegExp][] = [
    ['thimble.repo=', /"" as a repository name/],
    ['thimble.repo=../etc', /repository name/],
    ['thimble.minimum_revision=x', /"x" is not a revision/],
    ['thimble.root_hash=', /"" is not a root hash/],
    ['thimble.root_hash=v1', /"v1" is not a root hash/],
    [`thimble.root_hash=${HASH.toUpperCase().replace('2', 'G')}`, /is not a root hash/],
    ['thimble.tags=v1', /thimble\.tags of the kernel command line: it is not known/],
    ['thimble.', /thimble\. of the kernel command line/],
    ['thimble.Tag=v1', /thimble\.Tag/],
  ];
  for (const [line, message] of malformed) {
    test(`mergeSettings() refuses "${line}" with USAGE`, () => {
      assert.throws(() => mergeSettings(IMAGE, [], line), failsWith('USAGE', message));
    });
  }

  test('mergeSettings() names the settings there are when one is not known', () => {
    assert.throws(
      () => mergeSettings(IMAGE, ['thimble.sever=x'], ''),
      (error) =>
        failsWith('USAGE', /thimble\.sever of the machine \(SMBIOS\)/)(error) &&
        /thimble\.server, /.test((error as ThimbleError).hint ?? ''),
    );
  });

  test('mergeSettings() decodes or refuses any command line', () => {
    const word = fc.oneof(
      fc.string({ maxLength: 20 }),
      fc
        .tuple(fc.constantFrom('repo', 'server', 'tag', 'root_hash', 'format', 'nodisk'), fc.string())
        .map(([name, value]) => `thimble.${name}=${value}`),
    );
    fc.assert(
      fc.property(fc.array(word, { maxLength: 5 }), (words) => {
        try {
          mergeSettings(IMAGE, [], words.join(' '));
        } catch (error) {
          failsWith('USAGE', /./)(error);
        }
      }),
    );
  });
});

describe('parseImageSettings()', () => {
  test('parseImageSettings() reads what an image holds', () => {
    const full = { ...IMAGE, tag: 'v1', rootHash: HASH, profile: 'boot', minimumRevision: 7 };
    assert.deepEqual(parseImageSettings(JSON.stringify(full)), full);
    assert.deepEqual(parseImageSettings(JSON.stringify(IMAGE)), {
      ...IMAGE,
      tag: undefined,
      rootHash: undefined,
      profile: undefined,
      minimumRevision: undefined,
    });
  });

  const damaged: readonly [what: string, text: string][] = [
    ['no JSON', '{'],
    ['nothing', ''],
    ['null', 'null'],
    ['a list', '[]'],
    ['no name', JSON.stringify({ ...IMAGE, fqrn: undefined })],
    ['no servers', JSON.stringify({ ...IMAGE, servers: undefined })],
    ['servers that are no texts', JSON.stringify({ ...IMAGE, servers: [1] })],
    ['one proxy for a list', JSON.stringify({ ...IMAGE, proxies: 'http://p' })],
    ['a tag that is a number', JSON.stringify({ ...IMAGE, tag: 1 })],
    ['a minimum revision that is none', JSON.stringify({ ...IMAGE, minimumRevision: -1 })],
    ['a profile that is a list', JSON.stringify({ ...IMAGE, profile: [] })],
    ['a root hash that is null', JSON.stringify({ ...IMAGE, rootHash: null })],
  ];
  for (const [what, text] of damaged) {
    test(`parseImageSettings() refuses ${what} with FORMAT`, () => {
      assert.throws(() => parseImageSettings(text), failsWith('FORMAT', /settings of the image/));
    });
  }
});

describe('parseSettings()', () => {
  test('parseSettings() takes the words with our prefix, and only those', () => {
    const words = [
      'quiet',
      'thimble.tag=a=b',
      'thimble.rescue',
      'thimbles.tag=x',
      'xthimble.tag=y',
      'thimble',
    ];
    assert.deepEqual(
      [...parseSettings(words, 'test')],
      [
        ['tag', 'a=b'],
        ['rescue', ''],
      ],
    );
  });
});

describe('splitCommandLine()', () => {
  const cases: readonly [line: string, words: readonly string[]][] = [
    ['', []],
    ['a b\tc\n', ['a', 'b', 'c']],
    ['  a  ', ['a']],
    ['thimble.tag="two words" next', ['thimble.tag=two words', 'next']],
    ['"thimble.tag=two words" next', ['thimble.tag=two words', 'next']],
    ['a="" b', ['a=', 'b']],
    ['a"b"c', ['abc']],
  ];
  for (const [line, words] of cases) {
    test(`splitCommandLine() splits ${JSON.stringify(line)} into ${words.length}`, () => {
      assert.deepEqual(splitCommandLine(line), words);
    });
  }
});

describe('parseOemStrings()', () => {
  /** Type 11, length, handle, number of strings; then the strings. */
  const structure = (strings: readonly string[]) =>
    `\x0b\x05\x00\x0b${String.fromCharCode(strings.length)}${strings.map((text) => `${text}\0`).join('')}\0`;

  const cases: readonly [what: string, raw: string, strings: readonly string[]][] = [
    ['reads every string', structure(['thimble.tag=v1', 'other']), ['thimble.tag=v1', 'other']],
    ['reads no strings', structure([]), []],
    [
      'skips a formatted area that is longer than it knows',
      `\x0b\x07\x00\x0b\x01XYthimble.tag=v1\0\0`,
      ['thimble.tag=v1'],
    ],
    ['takes no structure of another type', structure(['thimble.tag=v1']).replace('\x0b', '\x01'), []],
    ['takes no structure that is cut', '\x0b\x05\x00', []],
    ['takes nothing for nothing', '', []],
  ];
  for (const [what, raw, strings] of cases) {
    test(`parseOemStrings() ${what}`, () => {
      assert.deepEqual(parseOemStrings(raw), strings);
    });
  }

  test('parseOemStrings() gives back the strings of any structure', () => {
    const text = fc.stringMatching(/^[ -~]{1,30}$/);
    fc.assert(
      fc.property(fc.array(text, { maxLength: 6 }), (strings) => {
        assert.deepEqual(parseOemStrings(structure(strings)), strings);
      }),
    );
  });
});
