/** A guest's side of two-level delivery (xen.h, struct shared_info): selector, pending bits, mask. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import { sharedInfo, vcpuInfo } from '@ringside/gnttab-core/abi';
import { EventGuest } from './event-guest.ts';

const { evtchn_pending: PENDING, evtchn_mask: MASK } = sharedInfo.x86_64.offset;
const { evtchn_pending_sel: SELECTOR } = vcpuInfo.x86_64.offset;

/** An x86_64 guest. A virtual CPU takes whatever it finds pending in the words that were selected for it. */
export class TwoLevelGuest extends EventGuest {
  #at(bitmap: number, word: number): number {
    return (this.domain.sharedInfo * PAGE_SIZE + bitmap) / 4 + word;
  }

  mask(port: number): void {
    Atomics.or(this.words, this.#at(MASK, port >>> 5), 1 << (port & 31));
  }

  pending(port: number): boolean {
    return (this.words[this.#at(PENDING, port >>> 5)]! & (1 << (port & 31))) !== 0;
  }

  protected override scan(vcpu: number, take: (port: number) => void): void {
    for (const half of [0, 1]) {
      const selected = Atomics.exchange(this.words, (this.vcpuInfo(vcpu) + SELECTOR) / 4 + half, 0);
      for (let selector = selected; selector !== 0; selector &= selector - 1) {
        const word = (half * 32 + 31 - Math.clz32(selector & -selector)) * 2;
        this.#scanWord(word, take);
        this.#scanWord(word + 1, take);
      }
    }
  }

  /** 32 ports, of the 64 that a selector bit stands for. */
  #scanWord(word: number, take: (port: number) => void): void {
    const pending = this.#at(PENDING, word);
    for (;;) {
      const active = this.words[pending]! & ~this.words[this.#at(MASK, word)]!;
      if (active === 0) return;
      const bit = active & -active;
      Atomics.and(this.words, pending, ~bit);
      take(word * 32 + 31 - Math.clz32(bit));
    }
  }
}
