/** Says something on a socket that speaks the protocol of `cvmfs_talk`. */

import { connect } from 'node:net';
import { ThimbleError } from '../core/errors.ts';
import { failureOf, noAnswer, whenReady } from './control-client.ts';

/** The whole answer. Throws NOT_FOUND where nobody listens, CANCELLED without an answer in time, USAGE where one may not ask, STORAGE. */
export function talk(socketPath: string, command: string, timeoutMs: number): Promise<string> {
  return whenReady(socketPath, () => exchange(socketPath, command, timeoutMs));
}

async function exchange(socketPath: string, command: string, timeoutMs: number): Promise<string> {
  const chunks: Buffer[] = [];
  await new Promise<void>((resolve, reject) => {
    const socket = connect(socketPath, () => void socket.write(command));
    const fail = (error: Error) => {
      socket.destroy();
      reject(error instanceof ThimbleError ? error : failureOf(error, socketPath));
    };
    socket.setTimeout(timeoutMs, () => fail(noAnswer(timeoutMs)));
    socket.on('data', (chunk) => void chunks.push(chunk));
    socket.once('error', fail);
    socket.once('end', resolve);
  });
  return Buffer.concat(chunks).toString('utf8');
}
