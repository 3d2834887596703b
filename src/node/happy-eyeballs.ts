/**
 * Connects to a host with several addresses (RFC 8305): the next address is tried when one has failed or is silent for a
 * moment, without giving the others up, and the first that answers is used. So an address that is dead costs a moment, once.
 */

import { connect, type Socket } from 'node:net';

/** An address that has not answered after this gets company. */
const NEXT_ADDRESS_MS = 250;

export interface Place {
  readonly addresses: readonly string[];
  readonly port: number;
}

/** The socket and its address. Throws what the last address said; the caller ends it with `signal`. */
export function connectFirst(
  { addresses, port }: Place,
  signal: AbortSignal,
): Promise<{ socket: Socket; address: string }> {
  return new Promise((resolve, reject) => {
    const pending = new Set<Socket>();
    const left = [...addresses];
    let timer: NodeJS.Timeout | undefined;
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      for (const socket of pending) socket.destroy();
      pending.clear();
    };
    const onAbort = () => {
      end();
      reject(signal.reason);
    };
    const next = () => {
      clearTimeout(timer);
      const address = left.shift();
      if (address === undefined) return;
      const socket = connect({ host: address, port });
      pending.add(socket);
      const onError = (error: Error) => {
        pending.delete(socket);
        if (left.length > 0) next();
        else if (pending.size === 0) {
          end();
          reject(error);
        }
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        pending.delete(socket);
        end();
        // Until somebody else listens: an error that nobody hears ends the process.
        socket.off('error', onError).on('error', () => {});
        resolve({ socket, address });
      });
      if (left.length > 0) timer = setTimeout(next, NEXT_ADDRESS_MS);
    };
    signal.addEventListener('abort', onAbort);
    next();
  });
}
