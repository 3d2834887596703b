/**
 * Things that are verified once all they depend on is: a catalog with its objects and the catalogs below it. Results come in
 * any order, and long after the catalog itself was read.
 */
export class Verification {
  /** The thing itself, and all that it depends on. */
  #open = 1;
  #isSound = true;
  #dependents: Verification[] = [];
  readonly #onSound: () => void;

  /** `onSound` is called once, when everything was found to be sound; never if anything was not. */
  constructor(onSound: () => void = () => {}) {
    this.#onSound = onSound;
  }

  get isDone(): boolean {
    return this.#open === 0;
  }

  dependOn(other: Verification): void {
    if (other.isDone) this.#isSound &&= other.#isSound;
    else {
      this.#open++;
      other.#dependents.push(this);
    }
  }

  /** Something was wrong; what it depends on is still waited for. */
  spoil(): void {
    this.#isSound = false;
  }

  /** Nothing more will be found out about the thing itself. */
  finish(): void {
    this.#open--;
    if (this.#open > 0) return;
    if (this.#isSound) this.#onSound();
    const dependents = this.#dependents;
    this.#dependents = [];
    for (const dependent of dependents) {
      if (!this.#isSound) dependent.spoil();
      dependent.finish();
    }
  }
}
