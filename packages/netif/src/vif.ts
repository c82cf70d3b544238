/** What both drivers of a vif do alike: its modes, its ring pages, its counts. */
import type { AccessGrant, DomId, Guest, GuestPage } from '@ringside/gnttab-core';
import { pageBytes } from './packet.ts';
import { Traffic } from './stats.ts';
import { NET_TRACE } from './trace.ts';

/** How the bytes of a packet cross: their frame changes hands, or the hypervisor copies them. */
export type Mode = 'flip' | 'copy';

/** The modes of a connected vif, seen from the guest. */
export interface Modes {
  readonly rx: Mode;
  readonly tx: Mode;
}

/** A domain that cannot name machine frames cannot give one away. */
export const canFlip = ({ domain }: Guest): boolean => !domain.translated;

/** A page that both ends use as a ring: zeroed, granted, and freed only when the other end has let go. */
export class RingPage {
  readonly va: number;
  readonly #guest: Guest;
  readonly #page: GuestPage;
  readonly #grant: AccessGrant;

  constructor(guest: Guest, peer: DomId) {
    this.#guest = guest;
    this.#page = guest.memory.allocPage();
    this.va = this.#page.va;
    guest.memory.write(this.va, new Uint8Array(pageBytes));
    this.#grant = guest.grants.grantAccess(peer, this.#page);
  }

  get ref(): number {
    return this.#grant.ref;
  }

  /** Ends the grant and frees the page; 1 if the other end does not let go, else 0. */
  close(): number {
    if (this.#grant.end() === 'busy') return 1;
    this.#guest.memory.freePage(this.#page);
    return 0;
  }
}

/** Counts of one end of one vif. */
export interface VifTraffic {
  /** What the guest sent. */
  readonly tx: Traffic;
  /** What the guest received. */
  readonly rx: Traffic;
}

/** What names a vif: its frontend's domain and its number. */
export interface VifName {
  readonly front: number;
  readonly handle: number;
}

export function newVifTraffic(
  { machine, id }: Guest,
  vif: VifName,
  kinds: { readonly tx: number; readonly rx: number },
): VifTraffic {
  const { dropped } = NET_TRACE;
  const common = { trace: machine.trace, domid: id, ...vif, dropped };
  return {
    tx: new Traffic({ ...common, passed: kinds.tx }),
    rx: new Traffic({ ...common, passed: kinds.rx }),
  };
}
