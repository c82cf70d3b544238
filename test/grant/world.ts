/**
 * Domains with bare grant tables: tests write shared entries as a guest would, make hypercalls, and look at everything
 * that the hypervisor keeps. No guest kernel is in between.
 */
import {
  createDomain,
  type CreateDomainOptions,
  createMachine,
  destroyDomain,
  type Domain,
  GnttabCopy,
  GnttabMapGrantRef,
  GnttabSwapGrantRef,
  GnttabTransfer,
  GnttabUnmapAndReplace,
  GnttabUnmapGrantRef,
  Hypercalls,
  type Machine,
  PAGE_SIZE,
  PV_VA_BASE,
  referenceCount,
} from '@ringside/gnttab-core';
import { DOMID_SELF, GNTCOPY_dest_gref, GNTCOPY_source_gref } from '@ringside/gnttab-core/abi';
import {
  activeEntry,
  activeEntryOf,
  domainAddressSpace,
  gfnToMfn,
  lookup,
  pageInfo,
  sharedEntryOf,
} from '@ringside/gnttab-core/hypervisor';

/** First address of the window where a domain of `world` maps other domains' frames; page `n` follows at n * 4096. */
export const windowOf = (domain: Domain, n = 0): number =>
  (domain.translated ? 0x4000_0000 : PV_VA_BASE + 0x4000_0000) + n * PAGE_SIZE;
const WINDOW_PAGES = 1024;

/** A grant entry as the guest sees it. */
export interface Entry {
  flags: number;
  domid: number;
  frame: number;
}

/** One side of a copy: a reference, or a frame number (of the caller, unless `domid` says otherwise). */
export type Side =
  | { ref: number; domid: number; offset?: number }
  | { gmfn: number; domid?: number; offset?: number };

/** A domain, its hypercalls, and a view of what Xen knows about it. */
export class Actor {
  readonly domain: Domain;
  readonly machine: Machine;
  readonly hypercalls: Hypercalls;

  constructor(domain: Domain) {
    this.domain = domain;
    this.machine = domain.machine;
    this.hypercalls = new Hypercalls(domain);
    if (!domain.translated) this.hypercalls.providePageTables(windowOf(domain), WINDOW_PAGES);
  }

  get id(): number {
    return this.domain.id;
  }

  /** The machine frame of own page `gfn`. */
  mfn(gfn: number): number {
    return gfnToMfn(this.domain, gfn);
  }

  /** What the domain calls its page `gfn` in grant entries and copies: mfn (PV) or gfn (translated). */
  frame(gfn: number): number {
    return this.domain.translated ? gfn : this.mfn(gfn);
  }

  /** Writes a shared entry. */
  entry(ref: number, { flags, domid, frame }: Entry): void {
    const at = sharedEntryOf(this.domain, ref);
    const { u16, u32 } = this.machine.heap;
    u16[(at + 2) >>> 1] = domid;
    u32[(at + 4) >>> 2] = frame;
    u16[at >>> 1] = flags;
  }

  /** Reads a shared entry. */
  seen(ref: number): Entry {
    const at = sharedEntryOf(this.domain, ref);
    const { u16, u32 } = this.machine.heap;
    return { flags: u16[at >>> 1]!, domid: u16[(at + 2) >>> 1]!, frame: u32[(at + 4) >>> 2]! };
  }

  flags(ref: number): number {
    return this.seen(ref).flags;
  }

  setFlags(ref: number, flags: number): void {
    this.entry(ref, { ...this.seen(ref), flags });
  }

  /** The four pin counts of an active entry. */
  pin(ref: number): { hstw: number; hstr: number; devw: number; devr: number } {
    const pin =
      this.machine.heap.u32[(activeEntryOf(this.domain, ref) + activeEntry.offset.pin) >>> 2]!;
    return { hstw: pin & 255, hstr: (pin >>> 8) & 255, devw: (pin >>> 16) & 255, devr: pin >>> 24 };
  }

  /** References to the frame of own page `gfn`, without those of allocation and own mapping. */
  extraReferences(gfn: number): number {
    return referenceCount(this.machine, this.mfn(gfn)) - (this.domain.translated ? 1 : 2);
  }

  map(op: Partial<GnttabMapGrantRef>): GnttabMapGrantRef {
    const full = Object.assign(
      new GnttabMapGrantRef(),
      { handle: UNTOUCHED, devBusAddr: UNTOUCHED },
      op,
    );
    this.hypercalls.gnttabMap([full]);
    return full;
  }

  unmap(op: Partial<GnttabUnmapGrantRef>): number {
    const full = Object.assign(new GnttabUnmapGrantRef(), op);
    this.hypercalls.gnttabUnmap([full]);
    return full.status;
  }

  replace(op: Partial<GnttabUnmapAndReplace>): number {
    const full = Object.assign(new GnttabUnmapAndReplace(), op);
    this.hypercalls.gnttabUnmapAndReplace([full]);
    return full.status;
  }

  swap(refA: number, refB: number): number {
    const op = Object.assign(new GnttabSwapGrantRef(), { refA, refB });
    this.hypercalls.gnttabSwap([op]);
    return op.status;
  }

  transfer(op: Partial<GnttabTransfer>): number {
    const full = Object.assign(new GnttabTransfer(), op);
    this.hypercalls.gnttabTransfer([full]);
    return full.status;
  }

  copy(source: Side, dest: Side, len: number): number {
    const op = copyOp(source, dest, len);
    this.hypercalls.gnttabCopy([op]);
    return op.status;
  }

  /** The mapping at window page `n`, as the page table has it (PV). */
  pte(n = 0): { frame: number; writable: boolean; foreign: boolean } | undefined {
    return lookup(this.domain, windowOf(this.domain, n));
  }

  /** Makes own page `gfn` nobody's but the domain's: takes it out of the direct map. Returns its mfn. */
  detach(gfn: number): number {
    const frame = this.mfn(gfn);
    this.hypercalls.updateVaMapping(PV_VA_BASE + gfn * PAGE_SIZE, null, false);
    return frame;
  }

  /** The bytes of a page of machine memory. */
  bytes(mfn: number): Uint8Array {
    const at = mfn * PAGE_SIZE;
    return this.machine.heap.u8.subarray(at, at + PAGE_SIZE);
  }

  /** Writes one byte as code running in the domain would. Throws PageFault. */
  poke(va: number, value: number): void {
    const space = domainAddressSpace(this.domain);
    const address = space.translate(va, 'write');
    space.bankOf(address).u8[address & 0x0fff_ffff] = value;
  }

  /** Reads one byte as code running in the domain would. Throws PageFault. */
  peek(va: number): number {
    const space = domainAddressSpace(this.domain);
    const address = space.translate(va, 'read');
    return space.bankOf(address).u8[address & 0x0fff_ffff]!;
  }

  destroy(): void {
    destroyDomain(this.domain);
  }
}

/** What an OUT field holds before the call: a failed operation leaves it alone. */
export const UNTOUCHED = 0xa5a5;

export function copyOp(source: Side, dest: Side, len: number): GnttabCopy {
  const op = new GnttabCopy();
  op.len = len;
  op.status = UNTOUCHED;
  for (const [to, from, flag] of [
    [op.source, source, GNTCOPY_source_gref],
    [op.dest, dest, GNTCOPY_dest_gref],
  ] as const) {
    to.offset = from.offset ?? 0;
    to.domid = from.domid ?? DOMID_SELF;
    if ('ref' in from) {
      to.ref = from.ref;
      op.flags |= flag;
    } else to.gmfn = from.gmfn;
  }
  return op;
}

/** A machine and its domains. */
export class World {
  readonly machine: Machine;

  constructor(memoryPages = 4096) {
    this.machine = createMachine({ memoryPages, seed: 1 });
  }

  domain(options: Partial<CreateDomainOptions> = {}): Actor {
    return new Actor(createDomain(this.machine, { pages: 16, maxPages: 32, ...options }));
  }

  /** The domain has a struct domain: it lives, or is a ghost of which something is still in use. */
  exists({ domain }: Actor): boolean {
    return this.machine.domainById(domain.id) === domain;
  }

  /** Type references to a frame: how many mappings and copies may write it. */
  typeCount(mfn: number): number {
    return (
      this.machine.heap.i32[(this.machine.pageInfo(mfn) + pageInfo.offset.type_info) >>> 2]! &
      0x03ff_ffff
    );
  }
}

/** A granter and a mapper, both PV, and a third domain that nobody granted anything. */
export function three(): { world: World; granter: Actor; mapper: Actor; other: Actor } {
  const world = new World();
  const granter = world.domain();
  const mapper = world.domain();
  return { world, granter, mapper, other: world.domain() };
}

/** Runs `race` just before each compare-and-exchange on `actor`'s entry `ref`, as another vCPU might. */
export function beforeExchange(actor: Actor, ref: number, race: () => void): Disposable {
  const { native, heap } = actor.machine;
  const at = sharedEntryOf(actor.domain, ref);
  const cas = native.cas.bind(native);
  const { compareExchange } = Atomics;
  native.cas = (word, expected, replacement) => {
    if (word === at) race();
    return cas(word, expected, replacement);
  };
  Atomics.compareExchange = ((words: Int32Array, index: number, from: number, to: number) => {
    if (words.buffer === heap.u8.buffer && index * words.BYTES_PER_ELEMENT === at) race();
    return compareExchange(words, index, from, to);
  }) as typeof Atomics.compareExchange;
  return {
    [Symbol.dispose]: () => {
      native.cas = cas;
      Atomics.compareExchange = compareExchange;
    },
  };
}
