/** Grant table entries, version 1: eight bytes, in which Xen marks the use of a grant beside the guest's own flags. */
import { grantEntryV1, GTF_reading, GTF_readonly, GTF_writing } from '../abi/grant-table.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GrantEntries } from './grant-entries.ts';
import type { GuestMemory } from './memory.ts';

const { size: SIZE, offset } = grantEntryV1.x86_64;
const IN_USE = GTF_reading | GTF_writing;
const ALL = 0xffff;

/** A guest's grant table of version 1 (grant_entry_v1, grant_table.h): what a domain has without asking. */
export class GrantEntriesV1 extends GrantEntries {
  readonly version = 1;

  /** Begins with no frame; see `grow`. */
  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    super(memory, hypercalls, SIZE, offset.frame);
  }

  usage(ref: number): number {
    const word = this.flagsWord(ref);
    return Atomics.load(this.shared.bank.u16, word) & IN_USE;
  }

  /** In use, nothing has changed. */
  end(ref: number): boolean {
    return this.exchange(this.flagsWord(ref), IN_USE, 0, 0);
  }

  makeReadonly(ref: number): boolean {
    return this.exchange(this.flagsWord(ref), GTF_writing, ALL, GTF_readonly);
  }
}
