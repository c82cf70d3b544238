/**
 * The machine: banks of memory, a clock, a scheduler, random numbers and a trace. All that the hypervisor knows lies
 * in bank 0; this object is a handle on it, and several may be attached to the same memory.
 */
import type { Abi } from '../abi/struct.ts';
import { DOMID_FIRST_RESERVED } from '../abi/xen.ts';
import { Bank, type BankMemory } from './bank.ts';
import { type Clock, VirtualClock } from './clock.ts';
import { invariant } from './errors.ts';
import { realClock } from './host.ts';
import { BANK_foreign, describeBank, frameTablePages, takeUnused } from './heap.ts';
import { addTo, counterAt, counterNames, type Counters } from './counters.ts';
import {
  bankEntry,
  DOMAIN,
  DOMAIN_crashed,
  DOMAIN_i386,
  DOMAIN_maps_itself,
  DOMAIN_privileged,
  DOMAIN_shut_down,
  DOMAIN_translated,
  DOMAIN_unmap_on_overwrite,
  DOMDYING_alive,
  LAYOUT_VERSION,
  MACHINE_MAGIC,
  MACHINE_smp,
  machineHeader,
  MAX_BANKS,
  pageInfo,
} from './layout.ts';
import type { Native } from './native-code.ts';
import {
  bankOffset,
  BANK_PAGES,
  BANK_SHIFT,
  type DomId,
  type MachineAddress,
  PAGE_SIZE,
} from './page.ts';
import { type Random, seededRandom } from './random.ts';
import { RealScheduler, type Scheduler, SeededScheduler } from './scheduler.ts';
import { TRACE } from './trace-kinds.ts';
import { Trace } from './trace.ts';
import { Uniprocessor } from './uniprocessor.ts';

/** Where the library's rare remarks go; a pino logger fits. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
/** Xen's own handler of an event (xen_event_channel_notification_t): whose port it is, and which vCPU it notifies. */
export type XenConsumer = (domid: number, vcpu: number, port: number) => void;

const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** What another thread (or another handle) needs to attach to a machine. */
export interface MachineShare {
  readonly banks: readonly { readonly memory: BankMemory; readonly foreign: boolean }[];
  readonly seed: number | undefined;
}

const { banks: BANKS, nr_banks: NR_BANKS, hardware_domain: HARDWARE_DOMAIN } = machineHeader.offset;
const { pages: BANK_PAGE_COUNT, frame_table: FRAME_TABLE } = bankEntry.offset;
const PAGE_INFO_SIZE = pageInfo.size;
const SERIAL = DOMAIN.serial;
/** Machine addresses below this are in bank 0. */
const HEAP_END = BANK_PAGES * PAGE_SIZE;

export class Machine {
  readonly banks: Bank[];
  /** Bank 0, where the hypervisor's structs are. It is native: its views may be kept. */
  readonly heap: Bank;
  /** Its views. */
  readonly u8: Uint8Array<ArrayBufferLike>;
  readonly u16: Uint16Array<ArrayBufferLike>;
  readonly u32: Uint32Array<ArrayBufferLike>;
  readonly i32: Int32Array<ArrayBufferLike>;
  /** Bank 0's locks and reference counts: see native-code.ts, and uniprocessor.ts while nobody else is attached. */
  native: Native;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly log: Log;
  readonly seed: number | undefined;
  /** hypercall_preempt_check(): true where a long hypercall should let others have a turn. */
  preemptCheck: () => boolean = () => false;
  /** Who runs a domain's upcall on this thread, by domain id. */
  readonly upcalls = new Map<number, () => void>();
  /**
   * Told of every upcall of a virtual CPU that becomes pending through this handle. Locks are held: note it, and act later
   * (`scheduler.post`).
   */
  onUpcall: ((domid: number, vcpu: number) => void) | undefined;
  /** Told when a virtual CPU that waited for an event is runnable again, through this handle. As above. */
  onWake: ((domid: number, vcpu: number) => void) | undefined;
  /** Xen's handlers of the ports that it consumes itself, on this thread: see evtchn/xen-ports.ts. */
  readonly xenConsumers = new Map<number, XenConsumer>();
  /** Buries a dying domain if nothing of it is in use any more; set by whoever makes hypercalls. */
  onDomainEmpty: ((domain: Domain) => void) | undefined;
  /** Dying domains that may own nothing more since something of theirs was let go during this hypercall. */
  readonly emptied: Domain[] = [];
  /** Word where the domain table begins. */
  readonly #domainSlots: number;
  /** Bank 0's own numbers, which never change: nearly every frame is there. */
  readonly #heapPages: number;
  readonly #heapFrameTable: number;
  /** Handles made so far, by domain id; the truth is the domain table. */
  readonly #domains: (Domain | undefined)[] = [];

  constructor(share: MachineShare, log: Log = quiet) {
    this.banks = share.banks.map(({ memory, foreign }, index) => new Bank(index, memory, foreign));
    this.heap = this.banks[0]!;
    this.u8 = this.heap.u8;
    this.u16 = this.heap.u16;
    this.u32 = this.heap.u32;
    this.i32 = this.heap.i32;
    invariant(this.heap.native !== undefined, 'bank 0 is native');
    const header = machineHeader.cursor().at(this.heap.view, 0);
    invariant(header.magic === MACHINE_MAGIC, 'this memory holds no machine');
    invariant(header.layout_version === LAYOUT_VERSION, 'this machine has another layout');
    this.native =
      (header.flags & MACHINE_smp) !== 0 ? this.heap.native : new Uniprocessor(this.heap);
    this.#domainSlots = header.domain_table >>> 2;
    this.#heapPages = this.heap.pages;
    this.#heapFrameTable = this.heap.u32[(BANKS + FRAME_TABLE) >>> 2]!;
    this.seed = share.seed;
    this.log = log;
    if (share.seed === undefined) {
      this.clock = realClock();
      this.scheduler = new RealScheduler(this.clock);
      this.random = seededRandom(1);
    } else {
      const clock = new VirtualClock();
      this.clock = clock;
      this.random = seededRandom(share.seed);
      this.scheduler = new SeededScheduler(clock, this.random.fork('scheduler'));
    }
    this.trace = new Trace(this.heap, header.trace, header.trace_records, this.clock);
  }

  /**
   * What to hand to another handle on the same memory: `new Machine(machine.share())`. From now on every step that
   * another thread could see is atomic.
   */
  share(): MachineShare {
    this.heap.u32[machineHeader.offset.flags >>> 2]! |= MACHINE_smp;
    this.native = this.heap.native!;
    return {
      banks: this.banks.map(({ memory, foreign }) => ({ memory, foreign })),
      seed: this.seed,
    };
  }

  /** The bank that holds a frame. The frame must be valid (see `mfnValid`). */
  bank(frame: number): Bank {
    const bank = this.banks[frame >>> BANK_SHIFT]!;
    return bank.foreign ? bank.refresh() : bank;
  }

  /** The bank that holds a machine address. */
  bankOf(address: MachineAddress): Bank {
    const bank = this.banks[(address / 2 ** 28) | 0]!;
    return bank.foreign ? bank.refresh() : bank;
  }

  /** Moves bytes anywhere in machine memory; ranges may overlap. Neither may leave its bank. */
  copyBytes(to: MachineAddress, from: MachineAddress, lengthBytes: number): void {
    if (to < HEAP_END && from < HEAP_END) this.native.copy(to, from, lengthBytes);
    else this.#copyAcross(to, from, lengthBytes);
  }

  #copyAcross(to: MachineAddress, from: MachineAddress, lengthBytes: number): void {
    const target = this.bankOf(to);
    const source = this.bankOf(from);
    const toOffset = bankOffset(to);
    const fromOffset = bankOffset(from);
    if (target === source) target.copy(toOffset, fromOffset, lengthBytes);
    else target.u8.set(source.u8.subarray(fromOffset, fromOffset + lengthBytes), toOffset);
    target.memory.written?.(toOffset, lengthBytes);
  }

  /** Adds a bank over somebody else's memory and returns its index; its frames start at `index << 16`. */
  addForeignBank(memory: BankMemory): number {
    const header = machineHeader.cursor().at(this.heap.view, 0);
    const index = header.nr_banks;
    if (index === MAX_BANKS) throw new RangeError(`a machine has at most ${MAX_BANKS} banks`);
    const bank = new Bank(index, memory, true);
    const table = takeUnused(this.heap, frameTablePages(bank));
    this.banks.push(bank);
    describeBank(this.heap, index, bank.pages, table * PAGE_SIZE, BANK_foreign);
    return index;
  }

  /**
   * Byte offset in bank 0 of a frame's struct page_info, or 0 if there is no such frame (mfn_valid fails).
   */
  pageInfo(frame: number): number {
    return frame >>> 0 === frame && frame < this.#heapPages
      ? this.#heapFrameTable + frame * PAGE_INFO_SIZE
      : this.#foreignPageInfo(frame);
  }

  #foreignPageInfo(frame: number): number {
    // A guest may name any 64-bit number.
    if (frame >>> 0 !== frame) return 0;
    const index = frame >>> BANK_SHIFT;
    const { u32 } = this;
    // Another handle may have added a bank whose memory this one has not.
    if (index >= u32[NR_BANKS >>> 2]! || index >= this.banks.length) return 0;
    const entry = BANKS + index * bankEntry.size;
    const page = frame & 0xffff;
    if (page >= u32[(entry + BANK_PAGE_COUNT) >>> 2]!) return 0;
    return u32[(entry + FRAME_TABLE) >>> 2]! + page * PAGE_INFO_SIZE;
  }

  /** The word that holds the byte offset of a domain's struct, 0 if there is none. */
  domainSlot(domid: number): number {
    return this.#domainSlots + domid;
  }

  /** rcu_lock_domain_by_id(): the domain with this id, dying ones included. */
  domainById(domid: number): Domain | undefined {
    const known = this.#domains[domid];
    // Its namesake may stand at the same place.
    return known !== undefined &&
      this.u32[this.#domainSlots + domid] === known.base &&
      this.u32[(known.base + SERIAL) >>> 2] === known.serial
      ? known
      : this.#lookUpDomain(domid);
  }

  /** Another handle on this memory created it, or what we knew is gone. */
  #lookUpDomain(domid: number): Domain | undefined {
    if (domid >= DOMID_FIRST_RESERVED) return undefined;
    const base = this.u32[this.domainSlot(domid)]!;
    if (base === 0) return undefined;
    const domain = new Domain(this, domid as DomId, base);
    this.#domains[domid] = domain;
    return domain;
  }

  /** A virtual CPU's upcall became pending; its handler runs soon, if it has one on this thread. */
  kick(domid: number, vcpu = 0): void {
    this.onUpcall?.(domid, vcpu);
    const upcall = this.upcalls.get(domid);
    if (upcall !== undefined) this.scheduler.post(upcall);
  }

  /** The hardware domain, if there is one. */
  get hardwareDomain(): Domain | undefined {
    return this.domainById(this.u32[HARDWARE_DOMAIN >>> 2]!);
  }

  /** Buries dying domains that own nothing more. Called at the end of a hypercall, when no lock is held. */
  reap(): void {
    while (this.emptied.length > 0) this.onDomainEmpty?.(this.emptied.pop()!);
  }
}

/** A domain: a handle on its struct domain in bank 0. */
export class Domain {
  readonly machine: Machine;
  readonly id: DomId;
  /** Byte offset in bank 0 of the struct domain. */
  readonly base: number;
  /** Tells the domain from an earlier one with the same id at the same place. */
  readonly serial: number;
  /** Auto-translated (HVM, PVH): its frame numbers are gfns. Otherwise PV: they are mfns. */
  readonly translated: boolean;
  /** A control domain: may act for others where the interface allows it. */
  readonly privileged: boolean;
  /** See DomainOptions. */
  readonly unmapOnOverwrite: boolean;
  /** How its shared info page is laid out. */
  readonly abi: Abi;

  constructor(machine: Machine, id: DomId, base: number) {
    this.machine = machine;
    this.id = id;
    this.base = base;
    this.serial = machine.heap.u32[(base + DOMAIN.serial) >>> 2]!;
    const flags = machine.heap.u16[(base + DOMAIN.flags) >>> 1]!;
    this.translated = (flags & DOMAIN_translated) !== 0;
    this.privileged = (flags & DOMAIN_privileged) !== 0;
    this.unmapOnOverwrite = (flags & DOMAIN_unmap_on_overwrite) !== 0;
    this.abi = (flags & DOMAIN_i386) === 0 ? 'x86_64' : 'i386';
  }

  /** false once the domain's destruction has begun, or its id belongs to another. */
  get alive(): boolean {
    return this.machine.domainById(this.id) === this && !this.isDying;
  }

  get isDying(): boolean {
    return this.machine.heap.u32[(this.base + DOMAIN.is_dying) >>> 2] !== DOMDYING_alive;
  }

  /** domain_crash(): it did what no guest may, and runs no more. */
  get crashed(): boolean {
    return (this.machine.heap.u16[(this.base + DOMAIN.flags) >>> 1]! & DOMAIN_crashed) !== 0;
  }

  /** Why it was shut down (SHUTDOWN_*), undefined while it runs. */
  get shutdownCode(): number | undefined {
    const { u16, u32 } = this.machine;
    const shutDown = (u16[(this.base + DOMAIN.flags) >>> 1]! & DOMAIN_shut_down) !== 0;
    return shutDown ? u32[(this.base + DOMAIN.shutdown_code) >>> 2] : undefined;
  }

  /** XSM_TARGET: a domain may act on itself, a control domain on all, a device model's domain on its target. */
  mayActOn(other: Domain): boolean {
    return (
      other === this ||
      this.privileged ||
      this.machine.u32[(this.base + DOMAIN.target) >>> 2] === other.serial
    );
  }

  /** It has mapped a grant of its own at least once: what it maps of its own may be a grant. */
  get mapsItself(): boolean {
    return (this.machine.u16[(this.base + DOMAIN.flags) >>> 1]! & DOMAIN_maps_itself) !== 0;
  }

  noteSelfMap(): void {
    this.machine.u16[(this.base + DOMAIN.flags) >>> 1]! |= DOMAIN_maps_itself;
  }

  /** Virtual CPUs. */
  get vcpus(): number {
    return this.machine.u32[(this.base + DOMAIN.nr_vcpus) >>> 2]!;
  }

  /** Pages the domain owns. */
  get totPages(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.tot_pages) >>> 2]!;
  }

  /** Pages the domain may own. */
  get maxPages(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.max_pages) >>> 2]!;
  }

  /** Frame of the shared info page. */
  get sharedInfo(): number {
    return this.machine.heap.u32[(this.base + DOMAIN.shared_info) >>> 2]!;
  }

  /** domain_crash(): stops the domain for good; whoever runs it destroys it then. */
  crash(reason: string): void {
    const { heap, trace, log } = this.machine;
    heap.u16[(this.base + DOMAIN.flags) >>> 1]! |= DOMAIN_crashed;
    trace.emit(TRACE.domainCrash, this.id, this.id);
    log.warn({ domain: this.id }, `domain ${this.id} crashed: ${reason}`);
  }

  /** Adds to one of the domain's counters: COUNTER.* */
  count(counter: number, amount = 1): void {
    addTo(this.machine.heap.u32, this.base + DOMAIN.counters + counter, amount);
  }

  /** The domain's counters as they stand. */
  counters(): Counters {
    const { u32 } = this.machine.heap;
    return Object.fromEntries(
      counterNames.map((name, i) => [name, counterAt(u32, this.base + DOMAIN.counters + i * 8)]),
    ) as Counters;
  }
}
