/** The binary door as such: which hypercalls there are, whose they are, and how they end. */
import {
  Continuation,
  createDomain,
  createMachine,
  destroyDomain,
  EndlessContinuation,
  HypercallDoor,
  InvariantError,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_event_channel_op_compat,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  evtchnAllocUnbound,
  EVTCHNOP_alloc_unbound,
  EVTCHNOP_reset,
  EVTCHNOP_status,
  evtchnReset,
  EVTCHNSTAT_closed,
  EVTCHNSTAT_unbound,
  evtchnStatus,
  GNTCOPY_source_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_okay,
  gnttabCopy,
  gnttabMapGrantRef,
  GNTTABOP_copy,
  GNTTABOP_get_version,
  GNTTABOP_map_grant_ref,
  GNTTABOP_set_version,
  gnttabSetVersion,
  GTF_permit_access,
  GTF_transitive,
  XEN_ENOSYS,
  XENVER_version,
} from '@ringside/gnttab-core/abi';
import { sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import {
  type BinaryGuest,
  guests,
  kinds,
  translatedKinds,
  UNTOUCHED_STATUS,
} from './binary-guest.ts';

describe.each(kinds)('%s, %s', (...kind) => {
  it('an unknown hypercall is -ENOSYS', () => {
    const [guest] = guests(kind, 1);
    for (const number of [__HYPERVISOR_event_channel_op_compat, 60, 4096, -1]) {
      expect(guest!.hypercall(number)).toBe(-XEN_ENOSYS);
    }
  });

  it('registers count by their bits: signed or not, number or bigint', () => {
    const [guest] = guests(kind, 1);
    const version = guest!.hypercall(__HYPERVISOR_xen_version, XENVER_version);
    const above = 2 ** 32;
    for (const cmd of [0n, above, -above, BigInt(above), -(1n << 63n)]) {
      expect(guest!.hypercall(__HYPERVISOR_xen_version, cmd)).toBe(version);
    }
  });

  it('every hypercall is counted, a failing one too', () => {
    const [guest] = guests(kind, 1);
    const before = guest!.domain.counters().hypercalls;
    guest!.hypercall(__HYPERVISOR_xen_version, XENVER_version);
    guest!.hypercall(99);
    expect(guest!.domain.counters().hypercalls).toBe(before + 2);
  });

  it('of a preempted one the first leg can be made alone, and the rest later', () => {
    const [guest, other] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
    const { machine } = guest;
    const op = { dom: DOMID_SELF, remote_dom: other.id };
    for (let port = 1; port <= 70; port++) {
      const alloc = guest.struct(evtchnAllocUnbound, op);
      expect(guest.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, alloc)).toBe(0);
    }
    const reset = guest.struct(evtchnReset, { dom: DOMID_SELF });
    const call = [__HYPERVISOR_event_channel_op, EVTCHNOP_reset, reset] as const;
    const stateOf = (port: number): number => {
      const va = guest.struct(evtchnStatus, { dom: DOMID_SELF, port });
      expect(guest.hypercall(__HYPERVISOR_event_channel_op, EVTCHNOP_status, va)).toBe(0);
      return guest.at(evtchnStatus, va).status;
    };
    machine.preemptCheck = () => true;
    const rest = guest.door.hypercallLeg(...call);
    expect(rest).toBeInstanceOf(Continuation);
    expect([stateOf(64), stateOf(65)]).toEqual([EVTCHNSTAT_closed, EVTCHNSTAT_unbound]);
    expect(guest.hypercall(call[0], ...(rest as Continuation).registers)).toBe(0);
    expect(stateOf(70)).toBe(EVTCHNSTAT_closed);
    expect(guest.door.hypercallLeg(4096)).toBe(-XEN_ENOSYS);
  });

  it('a domain that was destroyed makes none', () => {
    const [guest] = guests(kind, 1);
    destroyDomain(guest!.domain);
    expect(() => guest!.hypercall(__HYPERVISOR_xen_version)).toThrow(InvariantError);
    expect(() => guest!.hypercall(__HYPERVISOR_xen_version)).toThrow('which was destroyed');
  });

  it('a domain that has crashed makes none', () => {
    const [guest] = guests(kind, 1);
    guest!.domain.crash('a test');
    expect(() => guest!.hypercall(__HYPERVISOR_xen_version)).toThrow('which has crashed');
  });

  it('the last use of a dead domain’s page buries it', () => {
    const [granter, mapper] = guests(kind, 2);
    const { machine } = granter!;
    granter!.entry(8, GTF_permit_access, mapper!.id, granter!.gmfn(3));
    const map = mapper!.struct(gnttabMapGrantRef, {
      host_addr: BigInt(mapper!.window(0)),
      flags: GNTMAP_host_map,
      ref: 8,
      dom: granter!.id,
    });
    mapper!.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, map, 1);
    destroyDomain(granter!.domain);
    expect(machine.domainById(granter!.id)).toBe(granter!.domain);
    destroyDomain(mapper!.domain);
    expect(machine.domainById(granter!.id)).toBeUndefined();
  });

  it('a continuation that gets nowhere is an error, and what was done before it is done', () => {
    const { granter, mapper, copies } = endless(kind);
    const copy = () => mapper.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, copies, 2);
    expect(copy).toThrow(EndlessContinuation);
    expect(copy).toThrow(`domain ${mapper.id}: hypercall 20`);
    expect(mapper.at(gnttabCopy, copies, 0).status).toBe(GNTST_okay);
    expect(mapper.at(gnttabCopy, copies, 1).status).toBe(UNTOUCHED_STATUS);
    expect(granter.domain.alive).toBe(true);
  });
});

/** A grant that is pinned as one of its granter's pages, and has become a transitive one: a copy is tried for ever. */
function endless(kind: Parameters<typeof guests>[0]) {
  const [granter, mapper, owner] = guests(kind, 3) as [BinaryGuest, BinaryGuest, BinaryGuest];
  owner.entry(8, GTF_permit_access, granter.id, owner.gmfn(3));
  const { u32 } = granter.machine.heap;
  const version = granter.struct(gnttabSetVersion, { version: 2 });
  granter.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_set_version, version, 1);
  const at = sharedEntryOf(granter.domain, 8) >>> 2;
  u32[at + 2] = granter.gmfn(3);
  u32[at] = GTF_permit_access | (mapper.id << 16);
  const map = mapper.struct(gnttabMapGrantRef, {
    host_addr: BigInt(mapper.window(0)),
    flags: GNTMAP_host_map | GNTMAP_readonly,
    ref: 8,
    dom: granter.id,
  });
  mapper.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, map, 1);
  expect(mapper.at(gnttabMapGrantRef, map).status).toBe(GNTST_okay);
  u32[at + 1] = owner.id;
  u32[at + 2] = 8;
  u32[at] = GTF_transitive | (mapper.id << 16);
  const own = (gfn: number) => ({
    u: { gmfn: BigInt(mapper.gmfn(gfn)) },
    domid: DOMID_SELF,
    offset: 0,
  });
  const granted = { u: { ref: 8 }, domid: granter.id, offset: 0 };
  const copies = mapper.array(gnttabCopy, [
    { source: own(1), dest: own(2), len: 16, flags: 0 },
    { source: granted, dest: own(2), len: 16, flags: GNTCOPY_source_gref },
  ]);
  return { granter, mapper, copies };
}

it.each(translatedKinds)('%s, %s: has no page tables to change', (...kind) => {
  const [guest] = guests(kind, 1);
  for (const number of [__HYPERVISOR_mmu_update, __HYPERVISOR_update_va_mapping]) {
    expect(guest!.hypercall(number)).toBe(-XEN_ENOSYS);
  }
});

/** A buffer twice as big in the place of one that is gone, as a memory that grows leaves it. */
function grow(buffer: ArrayBuffer): ArrayBuffer {
  const bigger = new ArrayBuffer(buffer.byteLength * 2);
  new Uint8Array(bigger).set(new Uint8Array(buffer));
  structuredClone(buffer, { transfer: [buffer] });
  return bigger;
}

it('a guest with memory of its own: it may be replaced between calls, and it is told what Xen wrote', () => {
  const machine = createMachine({ memoryPages: 512, seed: 1 });
  const written: [offsetBytes: number, lengthBytes: number][] = [];
  const memory = {
    buffer: new ArrayBuffer(16 * PAGE_SIZE),
    written: (offsetBytes: number, lengthBytes: number) => written.push([offsetBytes, lengthBytes]),
  };
  const bank = machine.addForeignBank(memory);
  const domain = createDomain(machine, { type: 'translated', pages: 16, bank });
  const door = new HypercallDoor(domain, { abi: 'i386' });
  const va = 3 * PAGE_SIZE + 8;
  const version = () => new DataView(memory.buffer).getUint32(va + 4, true);
  for (let grown = 0; grown < 2; grown++) {
    memory.buffer = grow(memory.buffer);
    new DataView(memory.buffer).setUint16(va, DOMID_SELF, true);
    new DataView(memory.buffer).setUint32(va + 4, 0xa5a5_a5a5, true);
    expect(door.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_get_version, va, 1)).toBe(0);
    expect(version()).toBe(1);
  }
  expect(written).toEqual([
    [va + 4, 4],
    [va + 4, 4],
  ]);
});
