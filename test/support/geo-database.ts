/** Small geo databases in MaxMind's format (https://maxmind.github.io/MaxMind-DB/), version 2, for IPv6 with IPv4 in it. */

import { isIPv4 } from 'node:net';

type Value = string | number | readonly Value[] | { readonly [key: string]: Value };

/** A number that is not written as a floating-point one. */
const UNSIGNED_TYPES = { uint16: 5, uint32: 6 } as const;

/** What each network has, such as `{ '192.0.2.0/24': { location: { latitude: 46.2, longitude: 6.1 } } }`. */
export function geoDatabase(networks: Readonly<Record<string, Value>>): Buffer {
  const nodes: [number, number][] = [[0, 0]];
  const leaves: { node: number; side: 0 | 1; offset: number }[] = [];
  const data: Buffer[] = [];
  let dataBytes = 0;
  for (const [network, value] of Object.entries(networks)) {
    const bits = bitsOf(network);
    let node = 0;
    for (const side of bits.slice(0, -1)) {
      if (nodes[node]![side] === 0) nodes[node]![side] = nodes.push([0, 0]) - 1;
      node = nodes[node]![side];
    }
    const encoded = encode(value);
    leaves.push({ node, side: bits.at(-1)!, offset: dataBytes });
    data.push(encoded);
    dataBytes += encoded.length;
  }
  const count = nodes.length;
  const records = nodes.map((sides) => sides.map((next) => (next === 0 ? count : next)));
  for (const { node, side, offset } of leaves) records[node]![side] = count + 16 + offset;
  const tree = Buffer.alloc(count * 6);
  for (const [i, sides] of records.entries()) {
    tree.writeUIntBE(sides[0]!, i * 6, 3);
    tree.writeUIntBE(sides[1]!, i * 6 + 3, 3);
  }
  return Buffer.concat([
    tree,
    Buffer.alloc(16),
    ...data,
    Buffer.from('\xab\xcd\xefMaxMind.com', 'latin1'),
    metadata(count),
  ]);
}

function metadata(nodeCount: number): Buffer {
  const fields: [string, Buffer][] = [
    ['binary_format_major_version', unsigned(2, 'uint16')],
    ['binary_format_minor_version', unsigned(0, 'uint16')],
    // An extended type: seven more than the second byte.
    ['build_epoch', Buffer.from([4, 2, 0x65, 0, 0, 0])],
    ['database_type', encode('Thimble-Test')],
    ['description', encode({ en: 'for tests' })],
    ['ip_version', unsigned(6, 'uint16')],
    ['languages', encode(['en'])],
    ['node_count', unsigned(nodeCount, 'uint32')],
    ['record_size', unsigned(24, 'uint16')],
  ];
  const pairs = fields.flatMap(([name, value]) => [encode(name), value]);
  return Buffer.concat([Buffer.from([(7 << 5) | fields.length]), ...pairs]);
}

function encode(value: Value): Buffer {
  if (typeof value === 'string') {
    const bytes = Buffer.from(value);
    // 29 says that the length is in the next byte.
    const head = bytes.length < 29 ? [(2 << 5) | bytes.length] : [(2 << 5) | 29, bytes.length - 29];
    return Buffer.concat([Buffer.from(head), bytes]);
  }
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(9, (3 << 5) | 8);
    bytes.writeDoubleBE(value, 1);
    return bytes;
  }
  if (Array.isArray(value)) return Buffer.concat([Buffer.from([value.length, 4]), ...value.map(encode)]);
  const pairs = Object.entries(value);
  return Buffer.concat([
    Buffer.from([(7 << 5) | pairs.length]),
    ...pairs.flatMap(([key, one]) => [encode(key), encode(one as Value)]),
  ]);
}

function unsigned(value: number, type: keyof typeof UNSIGNED_TYPES): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = (UNSIGNED_TYPES[type] << 5) | (type === 'uint16' ? 2 : 4);
  if (type === 'uint16') bytes.writeUInt16BE(value, 1);
  else bytes.writeUInt32BE(value, 1);
  return bytes.subarray(0, type === 'uint16' ? 3 : 5);
}

/** The way down the tree; addresses of IPv4 are the lowest of IPv6. */
function bitsOf(network: string): (0 | 1)[] {
  const [address = '', length = ''] = network.split('/');
  const isShort = isIPv4(address);
  const groups = isShort ? address.split('.').map(Number) : expand(address);
  const width = isShort ? 8 : 16;
  const bits = groups.flatMap((group) => [...group.toString(2).padStart(width, '0')].map(Number)) as (
    | 0
    | 1
  )[];
  return isShort
    ? [...new Array<0>(96).fill(0), ...bits.slice(0, Number(length))]
    : bits.slice(0, Number(length));
}

function expand(address: string): number[] {
  const [left = '', right = ''] = address.split('::');
  const words = (text: string) =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
  const [head, tail] = [words(left), words(right)];
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}
