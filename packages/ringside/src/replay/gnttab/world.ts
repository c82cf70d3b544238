/** The machine that a trace begins with: domains, their memory and page tables, and nothing else. */
import {
  createDomain,
  createMachine,
  type Domain,
  HypercallDoor,
  INVALID_MFN,
  type Machine,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  allocXenHeapPage,
  freeXenHeapPage,
  L1_ENTRIES,
  limitDomainHeap,
  linkL1,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { ArgumentMemory } from '../argument-memory.ts';
import { addDomainBank } from '../frames.ts';
import { RecordingError } from '../reader.ts';
import type { DomainHeader, Frame, GnttabTrace } from './recording.ts';

/** Bank 0 of a replay: tables of a few domains. */
const MEMORY_PAGES = 2048;
/** Argument arrays of up to 64 KiB, and lists of frames. */
const ARRAY_PAGES = 16;
const LIST_PAGES = 4;
/** Virtual addresses that an L1 table maps. */
const PTE_BYTES = 8;
const L1_SPAN = L1_ENTRIES * PAGE_SIZE;

/** A domain of the trace. */
export interface Guest {
  readonly header: DomainHeader;
  readonly domain: Domain;
  /** Frames of its L1 tables, in the order of the addresses that they map. */
  readonly l1Frames: readonly number[];
  /** Where it puts arguments, and lists of frames. */
  readonly array: ArgumentMemory;
  readonly list: ArgumentMemory;
}

/** See above. */
export class World {
  readonly machine: Machine;
  readonly abi: Abi;
  readonly vaBase: number;
  readonly guests: ReadonlyMap<number, Guest>;
  readonly #doors = new Map<string, HypercallDoor>();

  /** Throws RecordingError for domains that no machine can have. */
  constructor({ header, steps }: GnttabTrace, abi: Abi) {
    const lowest = steps.map(({ step }) => (step.t === 'low_pages' ? step.first_mfn + step.n : 0));
    const memoryPages = Math.max(MEMORY_PAGES, ...lowest);
    const { transfer, transitive } = header.opts;
    this.abi = abi;
    this.vaBase = Number(header.va_base);
    this.machine = createMachine({
      memoryPages,
      traceRecords: 0,
      gnttab: { transfer: transfer === 1, transitive: transitive === 1 },
    });
    const guests = header.domains.toSorted((a, b) => a.mfn_base - b.mfn_base);
    this.guests = new Map(guests.map((guest) => [guest.id, this.#create(guest)]));
    limitDomainHeap(this.machine, 0);
  }

  #create(header: DomainHeader): Guest {
    const { machine, vaBase } = this;
    const bank = addDomainBank(machine, header);
    const domain = createDomain(machine, {
      domid: header.id,
      type: header.type === 'hvm' ? 'translated' : 'pv',
      privileged: header.priv,
      pages: header.frames,
      maxPages: header.max_pages,
      bank,
      vaBase,
      vcpus: header.nvcpu,
      ...(header.addr_bits !== 0 && { addressBits: header.addr_bits }),
      maxGrantFrames: header.max_grant_frames,
      maxMaptrackFrames: header.max_maptrack_frames,
      maxGrantVersion: header.max_version,
    });
    const l1Frames = header.l1_gfns.map((gfn) => header.mfn_base + gfn);
    l1Frames.forEach((frame, i) => {
      if (linkL1(domain, this.l1Address(i), frame)) return;
      throw new RecordingError(`domain ${header.id}: frame ${frame} cannot be its L1 table`);
    });
    return {
      header,
      domain,
      l1Frames,
      array: new ArgumentMemory(domain, { vaBase, index: 0, pages: ARRAY_PAGES }),
      // A page that is not there lies between them.
      list: new ArgumentMemory(domain, { vaBase, index: ARRAY_PAGES + 1, pages: LIST_PAGES }),
    };
  }

  /** Throws RecordingError if the trace has no such domain. */
  guest(domid: number): Guest {
    const guest = this.guests.get(domid);
    if (guest === undefined) throw new RecordingError(`the trace has no domain ${domid}`);
    return guest;
  }

  /** Neither destroyed nor forgotten. */
  isPresent({ domain }: Guest): boolean {
    return this.machine.domainById(domain.id) === domain;
  }

  door(domid: number, vcpu = 0): HypercallDoor {
    const key = `${domid}:${vcpu}`;
    let door = this.#doors.get(key);
    if (door === undefined) {
      door = new HypercallDoor(this.guest(domid).domain, { abi: this.abi, vcpu });
      this.#doors.set(key, door);
    }
    return door;
  }

  /** The first address that an L1 table maps. */
  l1Address(index: number): number {
    return this.vaBase + index * L1_SPAN;
  }

  /** Where the page table entry of an address is. Throws RecordingError if it has none. */
  pteSlot(domid: number, va: number): { frame: number; offsetBytes: number } {
    const offset = va - this.vaBase;
    const frame = this.guest(domid).l1Frames[Math.floor(offset / L1_SPAN)];
    if (frame !== undefined) {
      return { frame, offsetBytes: ((offset % L1_SPAN) / PAGE_SIZE) * PTE_BYTES };
    }
    throw new RecordingError(`domain ${domid} has no page table for 0x${va.toString(16)}`);
  }

  /** The number of a frame that may only be named; INVALID_MFN if there is none. */
  frameOf(frame: Frame): number {
    if (typeof frame === 'number') return frame;
    const { domain } = this.guest(frame.dom);
    return (frame.space === 'gt' ? sharedFrameAt : statusFrameAt)(domain, frame.index);
  }

  /** Leaves domains just these free frames of bank 0 (they are handed out in order). */
  leaveFree(first: number, count: number): void {
    const { machine } = this;
    const wanted: number[] = [];
    const others: number[] = [];
    while (wanted.length < count) {
      const frame = allocXenHeapPage(machine);
      if (frame === INVALID_MFN) throw new RecordingError(`frame ${first} is not to be had`);
      (frame >= first && frame < first + count ? wanted : others).push(frame);
    }
    // The frame that was freed last is the next one.
    wanted.sort((a, b) => b - a);
    for (const frame of [...others, ...wanted]) freeXenHeapPage(machine, frame);
    limitDomainHeap(machine, count);
  }
}
