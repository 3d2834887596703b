/** A network of its own for a process, connected to this machine by one cable whose far end a test can spoil. */

import { execFileSync, spawnSync } from 'node:child_process';
import type { TestContext } from 'node:test';

/** Of the range for measurements (RFC 2544): not in use anywhere. */
const NETWORK = '198.18';
const WHOLE_MTU = 1500;
const SMALL_MTU = 600;

let made = 0;

export class NetworkNamespace {
  readonly #name: string;
  readonly #near: string;
  readonly #subnet: string;

  private constructor() {
    const id = `${process.pid % 0x10000}-${made++}`;
    this.#name = `thimble-test-${id}`;
    this.#near = `th${id}a`;
    this.#subnet = `${NETWORK}.${process.pid % 250}.${4 * (made % 60)}`;
  }

  /** Needs root. Gone after the test. */
  static create(t: Pick<TestContext, 'after'>): NetworkNamespace {
    const namespace = new NetworkNamespace();
    t.after(() => void spawnSync('ip', ['netns', 'del', namespace.#name]));
    namespace.#create();
    return namespace;
  }

  /** This machine, as it is seen from there. */
  get address(): string {
    return this.#subnet.replace(/\d+$/, (last) => String(Number(last) + 1));
  }

  /** Before a command and its arguments, to run it there; it sees the mounts of this machine and its own are seen. */
  get prefix(): readonly string[] {
    return ['nsenter', `--net=/run/netns/${this.#name}`];
  }

  /** Packets that are larger than a few hundred bytes get lost on the way there, and nobody tells the sender. */
  loseLargePackets(): void {
    ip(['-n', this.#name, 'link', 'set', 'eth0', 'mtu', String(SMALL_MTU)]);
    // As if the small link were further away: both ends believe in large packets.
    ip(['-n', this.#name, 'route', 'change', `${this.#subnet}/30`, 'dev', 'eth0', 'advmss', '1400']);
  }

  mend(): void {
    ip(['-n', this.#name, 'link', 'set', 'eth0', 'mtu', String(WHOLE_MTU)]);
  }

  /** As when a cable is pulled at the far end. */
  unplug(): void {
    ip(['-n', this.#name, 'link', 'set', 'eth0', 'down']);
  }

  plugIn(): void {
    ip(['-n', this.#name, 'link', 'set', 'eth0', 'up']);
  }

  #create(): void {
    const far = this.#subnet.replace(/\d+$/, (last) => String(Number(last) + 2));
    ip(['netns', 'add', this.#name]);
    ip(['link', 'add', this.#near, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.#name]);
    // Packets are cut here and not by the card, or they would pass whole.
    ip(['link', 'set', this.#near, 'gso_max_segs', '1']);
    ip(['addr', 'add', `${this.address}/30`, 'dev', this.#near]);
    ip(['link', 'set', this.#near, 'up']);
    ip(['-n', this.#name, 'addr', 'add', `${far}/30`, 'dev', 'eth0']);
    ip(['-n', this.#name, 'link', 'set', 'eth0', 'up']);
  }
}

function ip(args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
