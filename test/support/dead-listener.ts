/**
 * An address that swallows connections, as a firewall does that drops packets: a process listens and sleeps, and the
 * kernel has no room left for handshakes that nobody accepts. No rights and no packet filter are needed.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

const PROGRAM = `
const [port, host] = process.argv.slice(1);
const server = require('node:net').createServer();
server.listen({ port: Number(port), host, backlog: 1 }, () => console.log(server.address().port));
`;
/** A handshake on this machine takes less than a millisecond. */
const HANDSHAKE_MS = 150;

export interface DeadListener {
  readonly port: number;
  /** The port is free again. */
  stop(): Promise<void>;
}

export async function startDeadListener(
  t: Pick<TestContext, 'after'>,
  port = 0,
  host = '127.0.0.1',
): Promise<DeadListener> {
  const child = spawn(process.execPath, ['-e', PROGRAM, String(port), host], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const fillers: Socket[] = [];
  const exited = once(child, 'exit');
  const stop = async () => {
    for (const socket of fillers) socket.destroy();
    child.kill('SIGKILL');
    await exited;
  };
  t.after(stop);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const listening = Number(line.toString());
  child.kill('SIGSTOP');
  while (!/\) T /.test(readFileSync(`/proc/${child.pid}/stat`, 'latin1'))) await sleep(5);
  do fillers.push(connect({ port: listening, host }).on('error', () => {}));
  while (await isConnected(fillers.at(-1)!));
  return { port: listening, stop };
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function isConnected(socket: Socket): Promise<boolean> {
  await Promise.race([once(socket, 'connect'), sleep(HANDSHAKE_MS)]);
  // This process may have been the one that was late: what has happened meanwhile is told in the same turn.
  await new Promise((resolve) => setImmediate(resolve));
  return !socket.connecting;
}
