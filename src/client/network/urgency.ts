/** Of a request that was made ahead of need: whether somebody waits for it by now. */
export class Urgency {
  /** Its answer is short: it may come behind others on one connection. */
  readonly isShort: boolean;
  isRaised = false;
  #onRaised: (() => void) | undefined;

  constructor(isShort = false) {
    this.isShort = isShort;
  }

  /** Somebody waits for it from now on. */
  raise(): void {
    if (this.isRaised) return;
    this.isRaised = true;
    this.#onRaised?.();
  }

  /** Calls back when somebody comes to wait, in place of whoever was to be called before; `undefined` takes that back. */
  onRaised(callback: (() => void) | undefined): void {
    this.#onRaised = callback;
  }
}
