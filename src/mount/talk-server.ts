/**
 * The socket on which the CernVM-FS client is talked to (`cvmfs_talk`): one command for each connection, its text as it is typed;
 * then the answer, and the end. Nothing ends a command but its last byte: what comes first is taken for all of it.
 */

import { connect, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { messageOf } from '../core/errors.ts';
import type { Log } from '../core/ports.ts';
import { makeFolder } from '../node/make-folder.ts';
import { LocalSocket } from './local-socket.ts';

/** Whoever has connected says something within this. */
const SILENCE_MS = 10_000;
/** As the CernVM-FS client makes it. */
const MODE = 0o660;

/** The answer to a command, with the end of its last line. */
export type Answerer = (command: string) => Promise<string>;

export class TalkServer {
  readonly #sockets: readonly LocalSocket[];

  private constructor(sockets: readonly LocalSocket[]) {
    this.#sockets = sockets;
  }

  /** Listens on all of these paths that can be had: where somebody listens already, it is left alone. The log says so. Never throws. */
  static async start(paths: readonly string[], answer: Answerer, log: Log): Promise<TalkServer> {
    const accept = (socket: Socket) => converse(socket, answer, log);
    const sockets: LocalSocket[] = [];
    for (const path of paths) {
      try {
        if (await isTaken(path)) {
          log.warn('no talk socket: another client listens there', { path });
          continue;
        }
        makeFolder(dirname(path), 0o700);
        sockets.push(await LocalSocket.listen(path, MODE, accept));
      } catch (error) {
        log.warn('no talk socket', { path, error: messageOf(error) });
      }
    }
    return new TalkServer(sockets);
  }

  close(): void {
    for (const socket of this.#sockets) socket.close();
  }
}

function converse(socket: Socket, answer: Answerer, log: Log): void {
  socket.setTimeout(SILENCE_MS, () => socket.destroy());
  socket.once('data', (bytes) => {
    socket.setTimeout(0);
    // The reference takes neither a line's end nor a second piece; a person with socat sends the first.
    const command = bytes.toString('utf8').replace(/[\0\r\n]+$/, '');
    void answer(command)
      .catch((error: unknown) => {
        log.debug('command failed', { command, error: messageOf(error) });
        return `Failed: ${messageOf(error)}\n`;
      })
      .then((text) => socket.end(text));
  });
}

/** Whether anybody answers there: what a dead process has left does not. */
async function isTaken(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const done = (isSo: boolean) => {
      socket.destroy();
      resolve(isSo);
    };
    socket.once('connect', () => done(true)).once('error', () => done(false));
  });
}
