/** Asks the server of a mount to tell as soon as it has something new (docs/format.md#news). */

import { HttpClient } from '../client/network/http-client.ts';
import type { Servers } from '../client/network/servers.ts';
import { HttpSource } from '../client/network/source.ts';
import type { Snapshot } from '../client/repository.ts';
import { Cancellation } from '../core/cancellation.ts';
import { ThimbleError } from '../core/errors.ts';
import { nodeClock } from '../node/clock.ts';
import { nodeSockets } from '../node/sockets.ts';

/** Servers hold an answer back for less than this. */
const PATIENCE_MS = 90_000;

/** Asks the server in use, by the proxy in use; folders and others cannot tell. */
export class Push {
  readonly #servers: Servers;
  readonly #end = new Cancellation();
  readonly #client = new HttpClient(nodeSockets, nodeClock, {
    stallTimeoutMs: PATIENCE_MS,
    lowSpeedBytesPerSecond: 0,
    maxConnectionsPerHost: 1,
  });

  constructor(servers: Servers) {
    this.#servers = servers;
  }

  /** Answers when the server has something else than what is shown, or after a while. Throws NETWORK. */
  readonly waitForNews = async ({ rootCatalog }: Snapshot): Promise<'news' | 'none' | 'unsupported'> => {
    const { server, proxy } = this.#servers.status();
    if (!/^https?:\/\//.test(server)) return 'unsupported';
    const source = new HttpSource(this.#client, server, proxy);
    const deadlineMs = nodeClock.monotonicMs() + PATIENCE_MS;
    try {
      const file = await source.open(`api/v1.0/news/${rootCatalog}`, {
        deadlineMs,
        noCache: true,
        signal: this.#end,
      });
      const isNews = (await file.next()) !== undefined;
      file.close();
      return isNews ? 'news' : 'none';
    } catch (error) {
      // Whatever a server says that does not know the question.
      const status = error instanceof ThimbleError ? Number(error.details['status'] ?? 0) : 0;
      if (status >= 300 && status < 500) return 'unsupported';
      throw error;
    }
  };

  /** Ends also a question that is being asked: its connection would keep the process. */
  close(): void {
    this.#end.cancel();
    this.#client.close();
  }
}
