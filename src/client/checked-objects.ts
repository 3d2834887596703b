/** The objects of a check: each is looked at once, what is bad is repaired or reported, what is sound goes into the state. */

import type { ReferencedObject } from '../core/catalog/check-catalog.ts';
import type { ContentHash, ObjectType } from '../core/content-hash.ts';
import type { CheckContext, FindingPlace } from './check-context.ts';
import type { CheckedObject, ObjectCheck, ObjectFailure, ObjectResult } from './check-objects.ts';
import type { CheckState } from './check-state.ts';
import { ObjectTable } from './object-table.ts';
import { Verification } from './verification.ts';

/** Repairs that wait for their turn; then checking waits for them. */
const MAX_REPAIRS = 32;

export class CheckedObjects {
  readonly #context: CheckContext;
  readonly #check: ObjectCheck;
  readonly #state: CheckState | undefined;
  /** Sizes of content by hash, type and compression. */
  readonly #seen = new ObjectTable({ sizes: true });
  /** Those without a result so far. */
  readonly #underWay = new Map<string, Verification>();
  readonly #bad = new Set<string>();
  #repairs = 0;
  #repairing: Promise<void> = Promise.resolve();
  /** As stored. */
  bytes = 0;
  /** Passed over, since a former check has found them to be sound. */
  verifiedBefore = 0;

  constructor(context: CheckContext, check: ObjectCheck, state: CheckState | undefined) {
    this.#context = context;
    this.#check = check;
    this.#state = state;
  }

  /** Unique objects with content of files. */
  get count(): number {
    return this.#seen.count;
  }

  isKnown(hash: ContentHash, type: ObjectType): boolean {
    return this.#seen.has(hash, kindOf(type, 'zlib')) || this.#seen.has(hash, kindOf(type, 'none'));
  }

  /** True if it has to be checked; otherwise `verification` depends on whoever does, or did. */
  claim(object: ReferencedObject, catalog: ContentHash, verification: Verification): boolean {
    const { hash, type, compression, sizeBytes, path } = object;
    const kind = kindOf(type, compression);
    if (this.#seen.add(hash, kind, sizeBytes)) {
      if (this.#state?.isVerified(hash, kind + sizeBytes) !== true) return true;
      this.verifiedBefore++;
      return false;
    }
    const known = this.#seen.size(hash, kind);
    if (known !== sizeBytes) {
      verification.spoil();
      const message = `object ${hash}${type} has ${sizeBytes} bytes here, and ${known} in another place`;
      this.#context.report({ rule: 'object-size', catalog, path }, message);
    }
    const other = this.#underWay.get(kind + hash);
    if (other !== undefined) verification.dependOn(other);
    else if (this.#bad.has(kind + hash)) verification.spoil();
    return false;
  }

  /** Checks what was claimed; returns when there is room for more. */
  async check(object: ReferencedObject, catalog: ContentHash, verification: Verification): Promise<void> {
    const { hash, type, compression, sizeBytes } = object;
    const kind = kindOf(type, compression);
    const own = new Verification(() => this.#state?.add(hash, kind + sizeBytes));
    verification.dependOn(own);
    this.#underWay.set(kind + hash, own);
    await this.#add(object, { rule: undefined, catalog }, (isSound) => {
      this.#underWay.delete(kind + hash);
      if (!isSound) {
        own.spoil();
        this.#bad.add(kind + hash);
      }
      own.finish();
    });
  }

  /** True if an object that no catalog describes has to be checked. */
  claimNamed({ hash, type }: CheckedObject): boolean {
    if (this.#state?.isVerified(hash, namedKindOf(type)) !== true) return true;
    this.verifiedBefore++;
    return false;
  }

  /** Checks such an object by its bytes as stored. */
  async checkNamed(object: CheckedObject, rule: string): Promise<void> {
    await this.#add(object, { rule, catalog: undefined }, (isSound) => {
      if (isSound) this.#state?.add(object.hash, namedKindOf(object.type));
    });
  }

  /** Waits for all results, and for all repairs. */
  async drain(): Promise<void> {
    await this.#check.drain();
    await this.#repairing;
  }

  async #add(
    object: CheckedObject,
    where: { readonly rule: string | undefined; readonly catalog: ContentHash | undefined },
    onDone: (isSound: boolean) => void,
  ): Promise<void> {
    const onResult = ({ storedBytes, failure }: ObjectResult) => {
      this.bytes += storedBytes;
      if (failure === undefined) onDone(true);
      else {
        onDone(false);
        const { catalog, rule = ruleOf(failure) } = where;
        this.#onFailure({ rule, catalog, path: object.path }, failure);
      }
    };
    await this.#check.add(object, onResult);
    if (this.#repairs > MAX_REPAIRS) await this.#repairing;
  }

  /** One after the other: results come without waiting. */
  #onFailure(place: FindingPlace, { object, message }: ObjectFailure): void {
    if (!this.#context.canRepair) {
      this.#context.report(place, message);
      return;
    }
    this.#repairs++;
    this.#repairing = this.#repairing.then(async () => {
      await this.#context.repairOrReport(place, object, message);
      this.#repairs--;
    });
    // Whoever waits for it gets to know.
    this.#repairing.catch(() => {});
  }
}

function kindOf(type: ObjectType, compression: ReferencedObject['compression']): string {
  return `${type}${compression === 'none' ? '=' : ''}`;
}

/** Its bytes are sound; what is said of its content was never compared. */
function namedKindOf(type: ObjectType): string {
  return `${type}named`;
}

function ruleOf({ code }: ObjectFailure): string {
  if (code === 'NOT_FOUND') return 'object-missing';
  return code === 'STORAGE' || code === 'NETWORK' ? 'object-unreadable' : 'object-content';
}
