/** Sockets that a signal closes, all at once: what waits for a server ends now, and not with its time-out. */

import { ThimbleError } from '../core/errors.ts';
import type { Connection, Sockets } from '../core/ports.ts';

/** After the signal, `connect` throws CANCELLED, which nobody tries again. */
export function abortableSockets(sockets: Sockets, signal: AbortSignal): Sockets {
  const open = new Set<Connection>();
  signal.addEventListener('abort', () => {
    for (const connection of open) connection.close();
  });
  return {
    async connect(target, timeoutMs) {
      const connection = signal.aborted ? undefined : await sockets.connect(target, timeoutMs);
      if (connection === undefined || signal.aborted) {
        connection?.close();
        throw new ThimbleError('CANCELLED', `Cannot connect to ${target.host}: the work was stopped`);
      }
      open.add(connection);
      return {
        write: (bytes) => connection.write(bytes),
        read: () => connection.read(),
        close: () => {
          open.delete(connection);
          connection.close();
        },
      };
    },
  };
}
