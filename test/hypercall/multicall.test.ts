/** HYPERVISOR_multicall (xen.h). */
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_multicall,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_xen_version,
  GNTMAP_host_map,
  gnttabMapGrantRef,
  GNTTABOP_map_grant_ref,
  GTF_permit_access,
  multicallEntry,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENOSYS,
  XENVER_pagesize,
  XENVER_version,
} from '@ringside/gnttab-core/abi';
import { lookup } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import {
  type BinaryGuest,
  guests,
  kinds,
  NO_GUEST_ADDRESS,
  NULL,
  preemptAlways,
  pvKinds,
} from './binary-guest.ts';

const VERSION = (4 << 16) | 22;

const entry = (op: number, ...args: (number | bigint)[]) => ({
  op: BigInt(op),
  args: args.map(BigInt),
});

const multicall = (guest: BinaryGuest, list: number | bigint, count: number): number =>
  guest.hypercall(__HYPERVISOR_multicall, list, count);

/** The result fields, as signed words. */
const results = (guest: BinaryGuest, list: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) =>
    Number(BigInt.asIntN(guest.wordBytes * 8, guest.at(multicallEntry, list, i).result)),
  );

describe.each(kinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;

  it('every call has its result beside it, and none stops the rest', () => {
    const guest = one();
    const list = guest.array(multicallEntry, [
      entry(__HYPERVISOR_xen_version, XENVER_version),
      entry(__HYPERVISOR_xen_version, 99),
      entry(77),
      entry(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, guest.window(1), 1),
      entry(__HYPERVISOR_xen_version, XENVER_pagesize),
    ]);
    expect(multicall(guest, list, 5)).toBe(0);
    expect(results(guest, list, 5)).toEqual([VERSION, -XEN_ENOSYS, -XEN_ENOSYS, -XEN_EFAULT, 4096]);
  });

  it('the entries stay as they were but for the result', () => {
    const guest = one();
    const call = entry(__HYPERVISOR_xen_version, XENVER_version, 2, 3, 4, 5, 6);
    const list = guest.array(multicallEntry, [call]);
    multicall(guest, list, 1);
    expect(guest.at(multicallEntry, list)).toEqual({ ...call, result: BigInt(VERSION) });
  });

  it('a multicall in a multicall is -EINVAL', () => {
    const guest = one();
    const list = guest.array(multicallEntry, [entry(__HYPERVISOR_multicall, NULL, 0)]);
    expect(multicall(guest, list, 1)).toBe(0);
    expect(results(guest, list, 1)).toEqual([-XEN_EINVAL]);
  });

  it('nothing to do is done, wherever it is', () => {
    const guest = one();
    expect(multicall(guest, NULL, 0)).toBe(0);
    expect(multicall(guest, guest.window(1), 0)).toBe(0);
  });

  it('a list that is not there is -EFAULT, and one that ends early is done up to there', () => {
    const guest = one();
    expect(multicall(guest, guest.window(1), 1)).toBe(-XEN_EFAULT);
    if (!guest.domain.translated) {
      expect(multicall(guest, NO_GUEST_ADDRESS[kind[1]], 1)).toBe(-XEN_EFAULT);
    }
    const call = entry(__HYPERVISOR_xen_version, XENVER_version);
    const list = guest.arrayAtEnd(multicallEntry, [call, call], 1);
    expect(multicall(guest, list, 2)).toBe(-XEN_EFAULT);
    expect(results(guest, list, 1)).toEqual([VERSION]);
  });

  it('a pause inside a call, or between two, is not noticed', () => {
    const [granter, guest] = guests(kind, 2) as [BinaryGuest, BinaryGuest];
    granter.entry(8, GTF_permit_access, guest.id, granter.gmfn(3));
    const maps = [0, 1, 2].map((n) => ({
      host_addr: BigInt(guest.window(n)),
      flags: GNTMAP_host_map,
      ref: 8,
      dom: granter.id,
    }));
    const ops = guest.array(gnttabMapGrantRef, maps);
    const map = entry(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, ops, 3);
    const version = entry(__HYPERVISOR_xen_version, XENVER_version);
    const list = guest.array(multicallEntry, [version, map, version]);
    const times = preemptAlways(guest.machine);
    expect(multicall(guest, list, 3)).toBe(0);
    expect(times()).toBe(4);
    expect(results(guest, list, 3)).toEqual([VERSION, 0, VERSION]);
    expect([0, 1, 2].map((i) => guest.at(gnttabMapGrantRef, ops, i).handle)).toEqual([0, 1, 2]);
    expect(guest.at(multicallEntry, list, 1).args).toEqual([...map.args, 0n, 0n, 0n]);
  });

  it('counts as one hypercall', () => {
    const guest = one();
    const call = entry(__HYPERVISOR_xen_version, XENVER_version);
    const list = guest.array(multicallEntry, [call, call]);
    const before = guest.domain.counters().hypercalls;
    multicall(guest, list, 2);
    expect(guest.domain.counters().hypercalls).toBe(before + 1);
  });
});

it.each(pvKinds)('%s, %s: 64-bit values take as many words as they need', (...kind) => {
  const [guest] = guests(kind, 1);
  const va = guest!.window(0);
  const pte = (1n << 63n) | (BigInt(guest!.mfn(3)) << 12n) | 3n;
  const val = kind[1] === 'i386' ? [pte & 0xffff_ffffn, pte >> 32n] : [pte];
  const list = guest!.array(multicallEntry, [entry(__HYPERVISOR_update_va_mapping, va, ...val, 0)]);
  expect(multicall(guest!, list, 1)).toBe(0);
  expect(results(guest!, list, 1)).toEqual([0]);
  expect(lookup(guest!.domain, va)).toEqual({
    frame: guest!.mfn(3),
    writable: true,
    foreign: false,
  });
});
