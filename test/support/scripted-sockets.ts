/** Connections that deliver what a test wrote down, cut into the pieces that it wants. */

import type { Bytes } from '../../src/core/bytes/byte-string.ts';
import { ThimbleError } from '../../src/core/errors.ts';
import type { Connection, Sockets } from '../../src/core/ports.ts';

export interface ScriptedSockets extends Sockets {
  /** Connections opened so far. */
  readonly opened: number;
  readonly closed: number;
}

/** Each connection takes the next script; after its last piece it has ended. */
export function scriptedSockets(...scripts: readonly (readonly Bytes[])[]): ScriptedSockets {
  let opened = 0;
  let closed = 0;
  return {
    get opened() {
      return opened;
    },
    get closed() {
      return closed;
    },
    connect: async (): Promise<Connection> => {
      const script = scripts[opened++];
      if (script === undefined) throw new ThimbleError('NETWORK', 'Cannot connect: no script is left');
      const pieces = [...script];
      let isClosed = false;
      return {
        write: () => {},
        read: async () => {
          if (isClosed) throw new ThimbleError('NETWORK', 'Cannot receive: closed');
          return pieces.shift();
        },
        close: () => {
          if (!isClosed) closed++;
          isClosed = true;
        },
      };
    },
  };
}
