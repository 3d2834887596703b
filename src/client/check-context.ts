/** What all parts of a check share: the repository, what was found, and how to read or repair an object of it. */

import type { Bytes } from '../core/bytes/byte-string.ts';
import type { ContentHash, ObjectType } from '../core/content-hash.ts';
import { errorCodeOf, messageOf } from '../core/errors.ts';
import type { Hashing } from '../core/ports.ts';
import { Findings, isDamage } from './check-findings.ts';
import type { Repair } from './repair.ts';
import type { Repository } from './repository.ts';

/** Where something was found. */
export interface FindingPlace {
  readonly rule: string;
  readonly catalog: ContentHash | undefined;
  /** Empty for the root. */
  readonly path: string;
}

export interface MetadataObject {
  readonly hash: ContentHash;
  readonly type: ObjectType;
  readonly limitBytes: number;
  readonly label: string;
}

export interface CheckContextOptions {
  readonly hashing: Hashing;
  /** The repository is in a folder of this machine: what cannot be read there is damaged. */
  readonly isLocal?: boolean;
  readonly repair?: Repair | undefined;
}

export class CheckContext {
  readonly repository: Repository;
  readonly hashing: Hashing;
  readonly isLocal: boolean;
  readonly findings = new Findings();
  /** Worth knowing, and not wrong. */
  readonly notes = new Findings();
  readonly repaired = new Findings();
  readonly #repair: Repair | undefined;

  constructor(repository: Repository, { hashing, isLocal, repair }: CheckContextOptions) {
    this.repository = repository;
    this.hashing = hashing;
    this.isLocal = isLocal ?? false;
    this.#repair = repair;
  }

  report({ rule, catalog, path }: FindingPlace, message: string): void {
    this.findings.add(rule, catalog, path, message);
  }

  note(rule: string, message: string): void {
    this.notes.add(rule, undefined, '', message);
  }

  get canRepair(): boolean {
    return this.#repair !== undefined;
  }

  /** Damage becomes a finding, and `undefined`; other failures are thrown. */
  async attempt<T>(place: FindingPlace, action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (error) {
      if (!this.isDamage(error)) throw error;
      this.report(place, messageOf(error));
      return undefined;
    }
  }

  /** The content of a metadata object, repaired first if need be. `undefined`, with a finding, if it cannot be had. */
  async load(
    place: FindingPlace,
    { hash, type, limitBytes, label }: MetadataObject,
  ): Promise<Bytes | undefined> {
    const load = () => this.repository.objects.load(hash, type, limitBytes, label);
    try {
      return await load();
    } catch (error) {
      if (!this.isDamage(error)) throw error;
      const isRepaired = await this.repairOrReport(place, { hash, type }, messageOf(error));
      return isRepaired ? this.attempt(place, load) : undefined;
    }
  }

  /** Repairs an object; one that stays as it is becomes a finding, and false. Throws STORAGE. */
  async repairOrReport(
    place: FindingPlace,
    { hash, type }: Pick<MetadataObject, 'hash' | 'type'>,
    message: string,
  ): Promise<boolean> {
    const outcome = await this.#repair?.repair(hash, type);
    if (outcome?.kind === 'repaired') {
      const verb = this.#repair!.isDryRun ? 'sound' : 'repaired';
      this.repaired.add(place.rule, place.catalog, place.path, `${message}; ${verb} from ${outcome.from}`);
      if (!this.#repair!.isDryRun) return true;
    }
    const why = outcome?.kind === 'failed' ? `; not repaired: ${outcome.reason}` : '';
    this.report(place, message + why);
    return false;
  }

  isDamage(error: unknown): boolean {
    return isDamage(errorCodeOf(error), this.isLocal);
  }
}
