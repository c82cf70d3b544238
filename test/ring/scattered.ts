/** Memory whose consecutive virtual pages lie apart in the machine, and which can lose a page. */
import { flatAddressSpace, PageFault } from '@ringside/gnttab-core';
import type { AddressSpace } from '@ringside/gnttab-core';

const PAGE_SIZE = 4096;

/** `pages` pages from virtual address 0, in reverse order and one page apart, all bytes `fill`. */
export function scatteredMemory(pages: number, fill: number): AddressSpace {
  const buffer = new ArrayBuffer(2 * pages * PAGE_SIZE);
  new Uint8Array(buffer).fill(fill);
  const flat = flatAddressSpace(buffer);
  return {
    translate(va, access) {
      const page = Math.floor(va / PAGE_SIZE);
      if (page < 0 || page >= pages) throw new PageFault(va, access, 'not-present');
      return flat.translate(2 * (pages - 1 - page) * PAGE_SIZE + (va % PAGE_SIZE), access);
    },
    bankOf: (address) => flat.bankOf(address),
  };
}
