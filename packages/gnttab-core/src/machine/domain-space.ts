/** The two address spaces of docs/architecture.md, "Two kinds of domain": by page table (PV) and by p2m (translated). */
import { type Access, type AddressSpace, PageFault } from './address-space.ts';
import type { Bank } from './bank.ts';
import { DOMAIN } from './layout.ts';
import type { Domain, Machine } from './machine.ts';
import { entryFrame, entryType, p2m_grant_map_ro, p2mEntry } from './p2m.ts';
import { BANK_PAGES, frameAddress, type MachineAddress, PAGE_SHIFT, PAGE_SIZE } from './page.ts';
import {
  _PAGE_PRESENT,
  _PAGE_RW,
  L1_ENTRIES,
  L1_SHIFT,
  PAGE_TABLE_SPAN,
  pteFrame,
} from './page-table.ts';
import { rootWord } from './radix.ts';

/** What code that runs in `domain` may touch. */
export function domainAddressSpace(domain: Domain): AddressSpace {
  return domain.translated ? new TranslatedSpace(domain) : new PvSpace(domain);
}

class PvSpace implements AddressSpace {
  readonly #machine: Machine;
  /** The page table walk by hand: root and L1 tables of bank 0, which is native, so its views may be kept. */
  readonly #u32: Uint32Array<ArrayBufferLike>;
  readonly #vaBase: number;
  readonly #rootWord: number;

  constructor(domain: Domain) {
    const { machine, base } = domain;
    const { u32 } = machine.heap;
    this.#machine = machine;
    this.#u32 = u32;
    this.#vaBase = u32[(base + DOMAIN.va_base) >>> 2]!;
    this.#rootWord = rootWord(u32[(base + DOMAIN.pt_root) >>> 2]!, 0);
  }

  translate(va: number, access: Access): MachineAddress {
    const offset = va - this.#vaBase;
    if (!(offset >= 0 && offset < PAGE_TABLE_SPAN)) throw new PageFault(va, access, 'not-present');
    const page = offset >>> PAGE_SHIFT;
    let u32 = this.#u32;
    const l1 = u32[this.#rootWord + (page >>> L1_SHIFT)]!;
    if (l1 === 0) throw new PageFault(va, access, 'not-present');
    if (l1 >= BANK_PAGES) ({ u32 } = this.#machine.bank(l1));
    const word = ((l1 & (BANK_PAGES - 1)) << 10) + ((page & (L1_ENTRIES - 1)) << 1);
    const lo = u32[word]!;
    if ((lo & _PAGE_PRESENT) === 0) throw new PageFault(va, access, 'not-present');
    if (access === 'write' && (lo & _PAGE_RW) === 0) throw new PageFault(va, access, 'read-only');
    return frameAddress(pteFrame(lo, u32[word + 1]!)) + (va & (PAGE_SIZE - 1));
  }

  bankOf(address: MachineAddress): Bank {
    return this.#machine.bankOf(address);
  }
}

class TranslatedSpace implements AddressSpace {
  readonly #domain: Domain;

  constructor(domain: Domain) {
    this.#domain = domain;
  }

  translate(va: number, access: Access): MachineAddress {
    const entry = p2mEntry(this.#domain, Math.floor(va / 2 ** PAGE_SHIFT));
    if (entry === 0) throw new PageFault(va, access, 'not-present');
    if (access === 'write' && entryType(entry) === p2m_grant_map_ro) {
      throw new PageFault(va, access, 'read-only');
    }
    return frameAddress(entryFrame(entry)) + (va & 4095);
  }

  bankOf(address: MachineAddress): Bank {
    return this.#domain.machine.bankOf(address);
  }
}
