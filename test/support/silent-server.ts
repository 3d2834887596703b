/** An address that takes no connections and refuses none: whoever connects waits for ever, as behind a router that drops packets. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';

/** A process that does not accept; two connections are more than may wait for that. */
const PROGRAM = `
  const server = require('node:net').createServer();
  server.listen({ host: process.argv[1], port: Number(process.argv[2]), backlog: 1 }, () => {
    process.stdout.write('ready');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  });`;
const WAITING = 4;

export async function startSilentServer(
  t: Pick<TestContext, 'after'>,
  host: string,
  port: number,
): Promise<void> {
  const child = spawn(process.execPath, ['-e', PROGRAM, host, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const sockets: Socket[] = [];
  const exited = once(child, 'exit');
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    child.kill('SIGKILL');
    await exited;
  });
  await once(child.stdout, 'data');
  for (let i = 0; i < WAITING; i++) {
    const socket = connect({ host, port }).on('error', () => {});
    sockets.push(socket);
    // The last ones never connect: that is what this is for.
    await Promise.race([once(socket, 'connect'), new Promise((resolve) => setTimeout(resolve, 200))]);
  }
}
