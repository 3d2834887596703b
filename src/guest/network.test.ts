import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatNetworkUnit, formatResolvConf, type Lease, parseLease } from './network.ts';

const lease = (changes: Partial<Lease> = {}): Lease => ({
  interface: 'eth0',
  address: '10.0.2.15',
  routers: [],
  nameServers: [],
  domain: undefined,
  ...changes,
});

describe('parseLease()', () => {
  test('parseLease() reads what the DHCP client writes', () => {
    const text =
      'interface=enp0s3\nip=10.0.2.15\nrouter=10.0.2.2 10.0.2.4\ndns=10.0.2.3 fd00::3\ndomain=example.org\n';
    assert.deepEqual(parseLease(text), {
      interface: 'enp0s3',
      address: '10.0.2.15',
      routers: ['10.0.2.2', '10.0.2.4'],
      nameServers: ['10.0.2.3', 'fd00::3'],
      domain: 'example.org',
    });
  });

  const given = (more: string) => `interface=eth0\nip=10.0.2.15\n${more}`;
  const cases: readonly [what: string, text: string, expected: Lease | undefined][] = [
    ['takes address and interface for enough', given(''), lease()],
    ['takes empty values for none', given('router=\ndns=\ndomain=\n'), lease()],
    [
      'takes the first of several domains',
      given('domain=a.example b.example\n'),
      lease({ domain: 'a.example' }),
    ],
    ['drops a domain that is no name', given('domain=$(reboot)\n'), lease()],
    ['drops a domain that is too long', given(`domain=${'a'.repeat(254)}\n`), lease()],
    [
      'drops name servers that are no addresses',
      given('dns=1.1.1.1 evil;rm 8.8.8.8\n'),
      lease({ nameServers: ['1.1.1.1', '8.8.8.8'] }),
    ],
    [
      'drops routers that are no addresses',
      given('router=gateway 10.0.2.2\n'),
      lease({ routers: ['10.0.2.2'] }),
    ],
    ['passes over lines that are no settings', given('\nnoise\n=value\nother=1\n'), lease()],
    ['takes the last of two values', given('ip=10.0.2.16\n'), lease({ address: '10.0.2.16' })],
    ['refuses an empty lease', '', undefined],
    ['refuses a lease without an address', 'interface=eth0\n', undefined],
    ['refuses a lease with a name for an address', 'interface=eth0\nip=host\n', undefined],
    ['refuses a lease without an interface', 'ip=10.0.2.15\n', undefined],
    ['refuses an interface that is a path', 'interface=../eth0\nip=10.0.2.15\n', undefined],
    [
      'refuses an interface with a name too long for Linux',
      `interface=${'e'.repeat(16)}\nip=1.2.3.4\n`,
      undefined,
    ],
  ];
  for (const [what, text, expected] of cases) {
    test(`parseLease() ${what}`, () => {
      assert.deepEqual(parseLease(text), expected);
    });
  }
});

describe('formatResolvConf()', () => {
  test('formatResolvConf() writes the domain and every name server', () => {
    const text = formatResolvConf(lease({ nameServers: ['10.0.2.3', 'fd00::3'], domain: 'example.org' }));
    assert.equal(text, 'search example.org\nnameserver 10.0.2.3\nnameserver fd00::3\n');
  });

  test('formatResolvConf() writes nothing for a lease without names', () => {
    assert.equal(formatResolvConf(lease()), '');
  });

  test('formatResolvConf() writes only known keywords, whatever the server answers', () => {
    const value = fc.string({ maxLength: 40 });
    fc.assert(
      fc.property(value, value, (dns, domain) => {
        const read = parseLease(`interface=eth0\nip=10.0.2.15\ndns=${dns}\ndomain=${domain}\n`);
        if (read === undefined) return;
        for (const line of formatResolvConf(read).split('\n').slice(0, -1)) {
          assert.match(line, /^(search [A-Za-z0-9.-]+|nameserver [0-9A-Fa-f.:]+)$/);
        }
      }),
    );
  });
});

describe('formatNetworkUnit()', () => {
  test('formatNetworkUnit() keeps one interface configured for as long as the machine runs', () => {
    assert.deepEqual(
      formatNetworkUnit('52:54:00:12:34:56')
        .split('\n')
        .filter((line) => !line.startsWith('#')),
      [
        '[Match]',
        'MACAddress=52:54:00:12:34:56',
        '',
        '[Network]',
        'DHCP=yes',
        'KeepConfiguration=yes',
        'IgnoreCarrierLoss=yes',
        '',
      ],
    );
  });
});
