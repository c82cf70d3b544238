/** Guests that make binary hypercalls: tests lay structs out in guest memory and pass addresses in registers. */
import {
  createDomain,
  type CreateDomainOptions,
  createMachine,
  destroyDomain,
  type Domain,
  type DoorOptions,
  HypercallDoor,
  Hypercalls,
  type Machine,
  type MachineOptions,
  ownerOf,
  PAGE_SIZE,
  PV_VA_BASE,
  readBytes,
  type Register,
  writeBytes,
} from '@ringside/gnttab-core';
import {
  type Abi,
  type Initializer,
  type Plain,
  type Struct,
  type StructByAbi,
  type Table,
} from '@ringside/gnttab-core/abi';
import {
  domainAddressSpace,
  ensureL1,
  gfnToMfn,
  sharedEntryOf,
} from '@ringside/gnttab-core/hypervisor';

export type Kind = readonly [type: 'pv' | 'translated', abi: Abi];

/** Every kind of guest that there is. */
export const kinds: readonly Kind[] = [
  ['pv', 'x86_64'],
  ['pv', 'i386'],
  ['translated', 'x86_64'],
  ['translated', 'i386'],
];
export const pvKinds = kinds.filter(([type]) => type === 'pv');
export const translatedKinds = kinds.filter(([type]) => type === 'translated');

/** An address that no guest can have, where Xen checks that: only of PV guests. */
export const NO_GUEST_ADDRESS = { x86_64: 0xffff_8000_0000_0000n, i386: 0xfff0_0000 } as const;
export const NULL = 0;
const PAGES = 16;
/** Pages from here on hold what tests lay out. */
const FIRST_FREE_PAGE = 8;

export interface GuestOptions extends Partial<CreateDomainOptions>, DoorOptions {}

export class BinaryGuest {
  readonly machine: Machine;
  readonly domain: Domain;
  readonly abi: Abi;
  readonly door: HypercallDoor;
  /** Bytes of `unsigned long`. */
  readonly wordBytes: number;
  #next: number;

  constructor(machine: Machine, [type, abi]: Kind, options: GuestOptions = {}) {
    this.machine = machine;
    this.abi = abi;
    this.wordBytes = abi === 'i386' ? 4 : 8;
    this.domain = createDomain(machine, { pages: PAGES, maxPages: 2 * PAGES, type, ...options });
    this.door = new HypercallDoor(this.domain, { abi, ...options });
    this.#next = this.page(FIRST_FREE_PAGE);
    if (type === 'pv') ensureL1(this.domain, this.window(0));
  }

  get id(): number {
    return this.domain.id;
  }

  /** Address of own page `gfn`. */
  page(gfn: number): number {
    return (this.domain.translated ? 0 : PV_VA_BASE) + gfn * PAGE_SIZE;
  }

  /** Address where nothing is, and grants can be mapped. */
  window(n: number): number {
    return (this.domain.translated ? 0 : PV_VA_BASE) + 0x2000_0000 + n * PAGE_SIZE;
  }

  mfn(gfn: number): number {
    return gfnToMfn(this.domain, gfn);
  }

  /** What the guest calls its page `gfn`. */
  gmfn(gfn: number): number {
    return this.domain.translated ? gfn : this.mfn(gfn);
  }

  hypercall(number: number, ...registers: Register[]): number {
    return this.door.hypercall(number, ...registers);
  }

  write(va: number, bytes: Uint8Array): void {
    writeBytes(domainAddressSpace(this.domain), va, bytes);
  }

  read(va: number, lengthBytes: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    readBytes(domainAddressSpace(this.domain), va, bytes);
    return bytes;
  }

  /** Lays bytes out and returns their address. */
  bytes(bytes: Uint8Array): number {
    const va = this.#next;
    this.#next = Math.ceil((va + bytes.length) / 16) * 16;
    this.write(va, bytes);
    return va;
  }

  /** Lays an array of structs out and returns its address. What a value does not name is OUT, and 0xa5. */
  array<T extends Table>(by: StructByAbi<T>, values: readonly Initializer<T>[]): number {
    return this.bytes(this.#encode(by[this.abi], values));
  }

  struct<T extends Table>(by: StructByAbi<T>, value: Initializer<T>): number {
    return this.array(by, [value]);
  }

  /** The same so that only the first `within` elements are in memory, and the next ones in none. */
  arrayAtEnd<T extends Table>(
    by: StructByAbi<T>,
    values: readonly Initializer<T>[],
    within: number,
  ): number {
    const { size } = by[this.abi];
    const va = this.page(PAGES) - within * size;
    this.write(va, this.#encode(by[this.abi], values).subarray(0, within * size));
    return va;
  }

  #encode<T extends Table>(struct: Struct<T>, values: readonly Initializer<T>[]): Uint8Array {
    const bytes = new Uint8Array(values.length * struct.size).fill(UNTOUCHED_BYTE);
    values.forEach((value, i) => {
      const whole = new Uint8Array(struct.size);
      struct.encode(new DataView(whole.buffer), 0, value);
      for (const [name, offset] of Object.entries(struct.offset)) {
        if (!(name in value)) continue;
        const { size } = struct.fields.find(({ path }) => path === name)!;
        bytes.set(whole.subarray(offset, offset + size), i * struct.size + offset);
      }
    });
    return bytes;
  }

  /** Element `index` of an array of structs. */
  at<T extends Table>(by: StructByAbi<T>, va: number, index = 0): Plain<T> {
    const struct = by[this.abi];
    const bytes = this.read(va + index * struct.size, struct.size);
    return struct.decode(new DataView(bytes.buffer), 0);
  }

  /** Lays an array of `unsigned long` out; -1 is all ones. */
  words(values: readonly number[]): number {
    const view = new DataView(new ArrayBuffer(values.length * this.wordBytes));
    values.forEach((value, i) => this.#setWord(view, i, BigInt(value)));
    return this.bytes(new Uint8Array(view.buffer));
  }

  #setWord(view: DataView, i: number, value: bigint): void {
    if (this.abi === 'i386') view.setUint32(i * 4, Number(BigInt.asUintN(32, value)), true);
    else view.setBigUint64(i * 8, BigInt.asUintN(64, value), true);
  }

  /** So many `unsigned long` from `va` on. */
  wordsAt(va: number, count: number): number[] {
    const view = new DataView(this.read(va, count * this.wordBytes).buffer);
    return Array.from({ length: count }, (_, i) =>
      this.abi === 'i386' ? view.getUint32(i * 4, true) : Number(view.getBigUint64(i * 8, true)),
    );
  }

  /** So many `int` from `va` on. */
  intsAt(va: number, count: number): number[] {
    const view = new DataView(this.read(va, count * 4).buffer);
    return Array.from({ length: count }, (_, i) => view.getInt32(i * 4, true));
  }

  /** Address just so that `bytes` are in memory and the next one is not. */
  beforeEnd(bytes: number): number {
    return this.page(PAGES) - bytes;
  }

  /** Writes an entry of the guest's own grant table (version 1). */
  entry(ref: number, flags: number, domid: number, frame: number): void {
    const at = sharedEntryOf(this.domain, ref);
    const { u32 } = this.machine.heap;
    u32[(at + 4) >>> 2] = frame;
    u32[at >>> 2] = flags | (domid << 16);
  }

  /** The flags of an entry. */
  flags(ref: number): number {
    return this.machine.heap.u16[sharedEntryOf(this.domain, ref) >>> 1]!;
  }

  /** Takes own page `gfn` out of a PV guest's page table, so that nothing refers to it; its mfn. */
  unmapped(gfn: number): number {
    const result = new Hypercalls(this.domain).updateVaMapping(this.page(gfn), null, false);
    if (result !== 0) throw new Error(`page ${gfn} cannot be unmapped: ${result}`);
    return this.mfn(gfn);
  }

  owner(mfn: number): number {
    return ownerOf(this.machine, mfn);
  }

  destroy(): void {
    destroyDomain(this.domain);
  }
}

/** What stands in OUT fields before a call. */
export const UNTOUCHED_BYTE = 0xa5;
/** The same as a status. */
export const UNTOUCHED_STATUS = 0xa5a5 - 0x1_0000;

/** A machine with guests of one kind. The first is an ordinary one. */
export function guests(kind: Kind, count: number, options: MachineOptions = {}): BinaryGuest[] {
  const machine = createMachine({ memoryPages: 4096, seed: 1, ...options });
  return Array.from({ length: count }, () => new BinaryGuest(machine, kind));
}

/** Has a hypercall of the machine yield at its `nth` chance to, once. */
export function preemptOnce(machine: Machine, nth: number): void {
  let chances = 0;
  machine.preemptCheck = () => ++chances === nth;
}

/** Has every hypercall of the machine yield whenever it can. Returns how often that has been. */
export function preemptAlways(machine: Machine): () => number {
  let times = 0;
  machine.preemptCheck = () => {
    times += 1;
    return true;
  };
  return () => times;
}
