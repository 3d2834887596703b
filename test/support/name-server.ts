/** A name server that answers as a test says (RFC 1035): addresses of names, over UDP on a free port. */

import { createSocket } from 'node:dgram';
import type { TestContext } from 'node:test';

/** Addresses with their time to live; `silent` for no answer at all. Names that are missing do not exist. */
export type NameTable = Record<
  string,
  { v4?: readonly string[] | 'silent'; v6?: readonly string[] | 'silent'; ttl?: number }
>;

export interface NameServer {
  /** As name servers are given to resolvers. */
  readonly address: string;
  /** Names that were asked for, once for each family. */
  readonly asked: readonly string[];
}

const NAME_ERROR = 3;
const TYPES = { v4: 1, v6: 28 } as const;

export async function startNameServer(t: Pick<TestContext, 'after'>, table: NameTable): Promise<NameServer> {
  const asked: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    const { name, type, end } = parseQuestion(question);
    asked.push(name);
    const known = table[name];
    const addresses = known?.[type === TYPES.v6 ? 'v6' : 'v4'] ?? [];
    if (addresses === 'silent') return;
    const answer = formatAnswer(
      question.subarray(0, end),
      type,
      known === undefined,
      addresses,
      known?.ttl ?? 300,
    );
    socket.send(answer, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  t.after(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  return { address: `127.0.0.1:${socket.address().port}`, asked };
}

function parseQuestion(bytes: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = bytes[at]!; length > 0; length = bytes[at]!) {
    labels.push(bytes.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), type: bytes.readUInt16BE(at + 1), end: at + 5 };
}

function formatAnswer(
  question: Buffer,
  type: number,
  isUnknown: boolean,
  addresses: readonly string[],
  ttl: number,
): Buffer {
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180 | (isUnknown ? NAME_ERROR : 0), 2);
  header.writeUInt16BE(addresses.length, 6);
  header.writeUInt32BE(0, 8);
  const records = addresses.map((address) => {
    const data = Buffer.from(type === TYPES.v6 ? bytesOfV6(address) : address.split('.').map(Number));
    const record = Buffer.alloc(12);
    // The name is that of the question, at offset 12.
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(ttl, 6);
    record.writeUInt16BE(data.length, 10);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([header, question.subarray(12), ...records]);
}

function bytesOfV6(text: string): number[] {
  const [head = '', tail = ''] = text.split('::');
  const groups = (part: string) =>
    part
      .split(':')
      .filter(Boolean)
      .map((group) => Number.parseInt(group, 16));
  const [first, last] = [groups(head), groups(tail)];
  const whole = [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
  return whole.flatMap((group) => [group >> 8, group & 0xff]);
}
