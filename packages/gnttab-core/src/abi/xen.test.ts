import { describe, expect, it } from 'vitest';
import { EVTCHN_2L_NR_CHANNELS } from './event-channel.ts';
import { sharedInfo, XEN_LEGACY_MAX_VCPUS } from './xen.ts';

describe.each(['x86_64', 'i386'] as const)('shared_info on %s', (abi) => {
  const struct = sharedInfo[abi];
  const page = struct.cursor().at(new DataView(new ArrayBuffer(4096)), 0);

  it('fits in a page', () => {
    expect(struct.size).toBeLessThanOrEqual(4096);
  });

  it('has a pending and a mask bit for every port of the two-level ABI', () => {
    const wordBits = 8 * (abi === 'x86_64' ? 8 : 4);
    expect(page.evtchn_pending.length * wordBits).toBe(EVTCHN_2L_NR_CHANNELS[abi]);
    expect(page.evtchn_mask.length * wordBits).toBe(EVTCHN_2L_NR_CHANNELS[abi]);
  });

  it('has one selector bit for every word of pending bits', () => {
    const vcpu = page.vcpu_info(XEN_LEGACY_MAX_VCPUS - 1);
    const last = page.evtchn_pending.length - 1;
    page.evtchn_pending.set(last, 1n);
    vcpu.evtchn_pending_sel = 1n << BigInt(last);
    vcpu.evtchn_upcall_pending = 1;
    expect(vcpu.evtchn_pending_sel).toBe(1n << BigInt(last));
    expect(page.evtchn_pending.get(last)).toBe(1n);
    expect(page.evtchn_mask.get(last)).toBe(0n);
  });
});
