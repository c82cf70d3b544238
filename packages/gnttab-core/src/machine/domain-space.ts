/** The two address spaces of the design's section 2: by page table (PV) and by p2m (translated). */
import { type Access, type AddressSpace, PageFault } from './address-space.ts';
import type { Bank } from './bank.ts';
import type { Domain } from './machine.ts';
import { entryFrame, entryType, p2m_grant_map_ro, p2mEntry } from './p2m.ts';
import { bankOffset, frameAddress, type MachineAddress, PAGE_SHIFT } from './page.ts';
import { _PAGE_PRESENT, _PAGE_RW, pteAddress, pteFrame } from './page-table.ts';

/** What code that runs in `domain` may touch. */
export function domainAddressSpace(domain: Domain): AddressSpace {
  return domain.translated ? new TranslatedSpace(domain) : new PvSpace(domain);
}

class PvSpace implements AddressSpace {
  readonly #domain: Domain;

  constructor(domain: Domain) {
    this.#domain = domain;
  }

  translate(va: number, access: Access): MachineAddress {
    const slot = pteAddress(this.#domain, va);
    if (slot < 0) throw new PageFault(va, access, 'not-present');
    const { u32 } = this.#domain.machine.bankOf(slot);
    const word = bankOffset(slot) >>> 2;
    const lo = u32[word]!;
    if ((lo & _PAGE_PRESENT) === 0) throw new PageFault(va, access, 'not-present');
    if (access === 'write' && (lo & _PAGE_RW) === 0) throw new PageFault(va, access, 'read-only');
    return frameAddress(pteFrame(lo, u32[word + 1]!)) + (va & 4095);
  }

  bankOf(address: MachineAddress): Bank {
    return this.#domain.machine.bankOf(address);
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
