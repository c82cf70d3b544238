/** The machine that a trace begins with: domains with their memory, and nothing else. */
import {
  createDomain,
  createMachine,
  type Domain,
  HypercallDoor,
  type Machine,
} from '@ringside/gnttab-core';
import type { Abi } from '@ringside/gnttab-core/abi';
import {
  getPage,
  getPageAndType,
  PGT_l1_page_table,
  putPage,
} from '@ringside/gnttab-core/hypervisor';
import { ArgumentMemory } from '../argument-memory.ts';
import { addDomainBank } from '../frames.ts';
import { RecordingError } from '../reader.ts';
import { Events } from './events.ts';
import type { DomainHeader, EvtchnTrace } from './recording.ts';

/** Bank 0 of a replay: port structs of a few domains. */
const MEMORY_PAGES = 8192;
/** Where a PV guest's addresses begin. */
const VA_BASE = 0x4000_0000;

const rank = ({ target }: DomainHeader): number => (target === null ? 0 : 1);

/** A domain of the trace. */
export interface Guest {
  readonly header: DomainHeader;
  readonly domain: Domain;
  /** Layout of its shared info page and of its arguments. */
  readonly abi: Abi;
  /** Where it puts arguments, and where those that cannot be written to. */
  readonly argument: ArgumentMemory;
  readonly constant: ArgumentMemory;
}

/** See above. */
export class World {
  readonly machine: Machine;
  readonly guests: ReadonlyMap<number, Guest>;
  readonly events: Events;
  readonly #doors = new Map<string, HypercallDoor>();

  /** Throws RecordingError for domains that no machine can have. */
  constructor({ header }: EvtchnTrace) {
    this.machine = createMachine({ memoryPages: MEMORY_PAGES, traceRecords: 0 });
    const byFrames = header.domains.toSorted((a, b) => a.mfn_base - b.mfn_base);
    const banks = new Map(byFrames.map((one) => [one.id, addDomainBank(this.machine, one)]));
    // A device model's domain comes after the domain that it serves.
    const served = header.domains.toSorted((a, b) => rank(a) - rank(b));
    this.guests = new Map(served.map((one) => [one.id, this.#create(one, banks.get(one.id)!)]));
    this.events = new Events(this.machine);
  }

  #create(header: DomainHeader, bank: number): Guest {
    const { machine } = this;
    const abi = header.bits === 32 ? 'i386' : 'x86_64';
    const domain = createDomain(machine, {
      domid: header.id,
      type: header.type === 'hvm' ? 'translated' : 'pv',
      abi,
      privileged: header.priv,
      hardwareDomain: header.hwdom,
      ...(header.target !== null && { target: header.target }),
      pages: header.frames,
      bank,
      vaBase: VA_BASE,
      vcpus: header.nvcpus,
      maxPort: header.max_port,
    });
    // Whoever recorded it looks at a dead domain's memory, too.
    for (let gfn = 0; gfn < header.frames; gfn++) {
      const frame = header.mfn_base + gfn;
      if (header.ro_gfns.includes(gfn))
        getPageAndType(machine, frame, header.id, PGT_l1_page_table);
      else getPage(machine, frame, header.id);
    }
    const page = (index: number, readonly: boolean) =>
      new ArgumentMemory(domain, { vaBase: VA_BASE, index, pages: 1, readonly });
    // A page that is not there lies between them.
    return { header, domain, abi, argument: page(0, false), constant: page(2, true) };
  }

  /** Throws RecordingError if the trace has no such domain. */
  guest(domid: number): Guest {
    const guest = this.guests.get(domid);
    if (guest === undefined) throw new RecordingError(`the trace has no domain ${domid}`);
    return guest;
  }

  /** Not forgotten; it may be dying. */
  isPresent({ domain }: Guest): boolean {
    return this.machine.domainById(domain.id) === domain;
  }

  /** Nobody looks at the memory of a dead domain any more. */
  letGo({ header }: Guest): void {
    for (let gfn = 0; gfn < header.frames; gfn++) putPage(this.machine, header.mfn_base + gfn);
    this.machine.reap();
  }

  door(domid: number, vcpu = 0): HypercallDoor {
    const key = `${domid}:${vcpu}`;
    let door = this.#doors.get(key);
    if (door === undefined) {
      const { domain, abi } = this.guest(domid);
      door = new HypercallDoor(domain, { abi, vcpu });
      this.#doors.set(key, door);
    }
    return door;
  }

  /** The machine's number of a frame as the domain names it. */
  mfnOf(domid: number, name: bigint): number {
    const { header } = this.guest(domid);
    return header.type === 'hvm' ? header.mfn_base + Number(name) : Number(name);
  }
}
