/**
 * A learning bridge, as IEEE 802.1D has it without spanning tree. It moves packets of any kind from port to
 * port, owns none of them, and carries back-pressure: while a destination asks senders to wait, the packet
 * stays with its sender.
 */
import { isGroup } from './mac.ts';
import type { Mac } from './mac.ts';

/** What the bridge needs to know of a packet. */
export interface Addressed {
  readonly destination: Mac;
  readonly source: Mac;
}

/** One port, as the bridge sees it. */
export interface BridgePort<P> {
  /** True while senders shall wait. A port must not ask that for ever: see its stall time. */
  readonly holding: boolean;
  /** Takes the packet over. */
  output(packet: P): void;
  /** Called once after a packet of this port was held, when it is worth trying again. */
  resume(): void;
}

export interface PortOptions {
  /** Whether source addresses seen here are learned; default true. Off: traffic for them is flooded. */
  readonly learning?: boolean;
  /** Whether packets for unknown addresses leave here; default true. */
  readonly flood?: boolean;
}

export interface BridgeOptions<P> {
  /** The machine's clock. */
  readonly nowNs: () => number;
  /** A second packet with the same content; undefined if there is no memory for it. */
  readonly clone: (packet: P) => P | undefined;
  /** Takes back a packet that leaves nowhere. */
  readonly release: (packet: P) => void;
  /** How long an address stays known without being seen; default 300 s. 0 makes the bridge a hub. */
  readonly ageingNs?: number;
  /** Most addresses known at once, so that no guest can fill the memory; default 4096. */
  readonly maxAddresses?: number;
}

/**
 * What became of a packet: `forwarded` (taken over), `filtered` (released: no other port wants it), or
 * `held` (still the sender's; a destination is full; try again after `resume`).
 */
export type Verdict = 'forwarded' | 'filtered' | 'held';

interface Entry<P> {
  port: BridgePort<P>;
  seenNs: number;
}

const defaultAgeingNs = 300e9;
const defaultMaxAddresses = 4096;

export class Bridge<P extends Addressed> {
  readonly counters = { forwarded: 0, flooded: 0, filtered: 0, cloneFailures: 0 };
  readonly #options: BridgeOptions<P>;
  readonly #ageingNs: number;
  readonly #maxAddresses: number;
  readonly #ports: {
    readonly port: BridgePort<P>;
    readonly learning: boolean;
    readonly flood: boolean;
  }[] = [];
  readonly #addresses = new Map<Mac, Entry<P>>();
  #nextSweepNs = 0;
  /** Senders that were told to wait. */
  readonly #waiting = new Set<BridgePort<P>>();
  readonly #targets: BridgePort<P>[] = [];

  constructor(options: BridgeOptions<P>) {
    this.#options = options;
    this.#ageingNs = options.ageingNs ?? defaultAgeingNs;
    this.#maxAddresses = options.maxAddresses ?? defaultMaxAddresses;
  }

  get ports(): number {
    return this.#ports.length;
  }

  addPort(port: BridgePort<P>, { learning = true, flood = true }: PortOptions = {}): void {
    this.#ports.push({ port, learning, flood });
  }

  /** Forgets the port and the addresses behind it, and lets whoever waited for it go on. */
  removePort(port: BridgePort<P>): void {
    const index = this.#ports.findIndex((known) => known.port === port);
    if (index >= 0) this.#ports.splice(index, 1);
    this.#waiting.delete(port);
    for (const [mac, entry] of this.#addresses) {
      if (entry.port === port) this.#addresses.delete(mac);
    }
    this.resume();
  }

  /** The port behind which `mac` was last seen. */
  lookup(mac: Mac): BridgePort<P> | undefined {
    return this.#lookup(mac, this.#options.nowNs());
  }

  /** Moves a packet that came in at port `from`; whom it belongs to afterwards is in the verdict. */
  forward(from: BridgePort<P>, packet: P): Verdict {
    if (this.#ageingNs === 0) return this.#flood(from, packet);
    const nowNs = this.#options.nowNs();
    this.#learn(from, packet.source, nowNs);
    const known = isGroup(packet.destination) ? undefined : this.#lookup(packet.destination, nowNs);
    if (known) {
      if (known === from) return this.#filter(packet);
      if (known.holding) return this.#hold(from);
      this.counters.forwarded++;
      known.output(packet);
      return 'forwarded';
    }
    return this.#flood(from, packet);
  }

  /** A port that was holding has room again (or has given up holding): senders may try again. */
  resume(): void {
    if (this.#waiting.size === 0) return;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const port of waiting) port.resume();
  }

  #lookup(mac: Mac, nowNs: number): BridgePort<P> | undefined {
    const entry = this.#addresses.get(mac);
    if (!entry) return undefined;
    if (nowNs - entry.seenNs <= this.#ageingNs) return entry.port;
    this.#addresses.delete(mac);
    return undefined;
  }

  #flood(from: BridgePort<P>, packet: P): Verdict {
    const group = isGroup(packet.destination);
    const targets = this.#targets;
    targets.length = 0;
    for (const { port, flood } of this.#ports) {
      if (port === from || !(flood || group)) continue;
      if (port.holding) return this.#hold(from);
      targets.push(port);
    }
    const last = targets.pop();
    if (!last) return this.#filter(packet);
    this.counters.flooded++;
    for (const port of targets) {
      const copy = this.#options.clone(packet);
      if (copy) port.output(copy);
      else this.counters.cloneFailures++;
    }
    last.output(packet);
    return 'forwarded';
  }

  #hold(from: BridgePort<P>): Verdict {
    this.#waiting.add(from);
    return 'held';
  }

  #filter(packet: P): Verdict {
    this.counters.filtered++;
    this.#options.release(packet);
    return 'filtered';
  }

  #learn(from: BridgePort<P>, source: Mac, seenNs: number): void {
    if (isGroup(source)) return;
    const entry = this.#addresses.get(source);
    if (entry?.port === from) {
      entry.seenNs = seenNs;
      return;
    }
    if (!this.#ports.some(({ port, learning }) => port === from && learning)) return;
    if (entry) {
      entry.port = from;
      entry.seenNs = seenNs;
    } else if (this.#addresses.size < this.#maxAddresses || this.#forgetAged(seenNs)) {
      this.#addresses.set(source, { port: from, seenNs });
    }
  }

  /** Makes room among the addresses; false if all are fresh, or if it looked a short time ago. */
  #forgetAged(nowNs: number): boolean {
    if (nowNs < this.#nextSweepNs) return false;
    this.#nextSweepNs = nowNs + this.#ageingNs / 16;
    for (const [mac, entry] of this.#addresses) {
      if (nowNs - entry.seenNs > this.#ageingNs) this.#addresses.delete(mac);
    }
    return this.#addresses.size < this.#maxAddresses;
  }
}
