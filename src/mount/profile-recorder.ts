/**
 * Records which objects a mount reads, in which order: catalogs and contents, also those that are in the cache. What the kernel
 * has in its page cache it does not ask for, so a mount is best recorded when it is fresh.
 */

import type { MountedSnapshot } from '../client/mounted-snapshot.ts';
import type { Objects } from '../client/objects.ts';
import { formatRecording, RecordedNames } from '../client/profile/recording.ts';
import type { ContentHash } from '../core/content-hash.ts';
import { ThimbleError } from '../core/errors.ts';
import type { FuseServer } from '../node/fuse-server.ts';
import { type ControlRoute, TextReply } from './control-route.ts';

export interface RecordedMount {
  readonly fqrn: string;
  readonly objects: Objects;
  readonly mounted: () => MountedSnapshot;
  readonly server: Pick<FuseServer, 'reportReads'>;
}

/** Content that is stored as it is has this behind its hash, in the cache. */
const PLAIN = '.plain';

export class ProfileRecorder {
  readonly #mount: RecordedMount;
  #names: RecordedNames | undefined;
  #rootCatalog: ContentHash | undefined;

  constructor(mount: RecordedMount) {
    this.#mount = mount;
  }

  /** What can be asked of it. */
  get routes(): readonly ControlRoute[] {
    return [
      { method: 'POST', path: '/record/start', handle: () => this.start() },
      {
        method: 'POST',
        path: '/record/stop',
        handle: () => new TextReply('text/plain; charset=utf-8', this.stop()),
      },
    ];
  }

  status(): { readonly recording: boolean; readonly objects: number } {
    return { recording: this.#names !== undefined, objects: this.#names?.count ?? 0 };
  }

  /** Begins, with the catalogs that are attached: nobody will ask for them again. Throws CONFLICT. */
  start(): { readonly rootCatalog: ContentHash } {
    if (this.#names !== undefined) {
      throw new ThimbleError('CONFLICT', 'Cannot record: a recording of this mount is under way');
    }
    const { objects, mounted, server } = this.#mount;
    const names = new RecordedNames();
    const { vfs, snapshot } = mounted();
    for (let index = 0; index < vfs.catalogs.count; index++) {
      const slot = vfs.catalogs.slot(index);
      if (slot !== undefined) names.add(`${slot.hash}C`);
    }
    this.#names = names;
    this.#rootCatalog = snapshot.rootCatalog;
    objects.onTouch = (hash, isCatalog) => void names.add(isCatalog ? `${hash}C` : hash);
    server.reportReads((id) => void names.add(id.endsWith(PLAIN) ? id.slice(0, -PLAIN.length) : id));
    return { rootCatalog: snapshot.rootCatalog };
  }

  /** Ends; answers the recording as a text. Throws NOT_FOUND if there is none. */
  stop(): string {
    const names = this.#names;
    if (names === undefined) throw new ThimbleError('NOT_FOUND', 'Nothing is being recorded on this mount');
    this.#names = undefined;
    this.#mount.objects.onTouch = undefined;
    this.#mount.server.reportReads(undefined);
    return formatRecording({
      fqrn: this.#mount.fqrn,
      rootCatalog: this.#rootCatalog,
      objects: names.objects,
    });
  }
}
