/** GTF_transitive (grant_table.h): where there are no transitive grants. See transitive.test.ts. */
import {
  createDomain,
  createMachine,
  EndlessContinuation,
  HypercallDoor,
  PV_VA_BASE,
  writeBytes,
} from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  DOMID_SELF,
  GNTCOPY_source_gref,
  gnttabCopy,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_okay,
  GNTTABOP_copy,
  GTF_permit_access,
  GTF_transitive,
} from '@ringside/gnttab-core/abi';
import { domainAddressSpace } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { fullPage, statusOf, transitive, version2 } from './entries-v2.ts';
import { chain, expectUnused, INNER, OUTER } from './transitive-world.ts';
import { Actor, windowOf } from './world.ts';

describe('not everywhere', () => {
  it('never to map (GT-13)', () => {
    const all = chain();
    const { middle, caller } = all;
    for (const flags of [GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly]) {
      const op = { dom: middle.id, ref: OUTER, flags, hostAddr: windowOf(caller.domain) };
      expect(caller.map(op).status).toBe(GNTST_general_error);
    }
    expectUnused(all);
  });

  it('not in a table of version 1', () => {
    const { owner, caller, other } = chain();
    other.entry(OUTER, { flags: GTF_transitive, domid: caller.id, frame: owner.id });
    const status = caller.copy({ ref: OUTER, domid: other.id }, { gmfn: caller.mfn(1) }, 1);
    expect(status).toBe(GNTST_general_error);
  });

  it('not on a machine without (gnttab=no-transitive)', () => {
    const machine = createMachine({ memoryPages: 512, seed: 1, gnttab: { transitive: false } });
    const [owner, middle, caller] = Array.from(
      { length: 3 },
      () => new Actor(createDomain(machine, { pages: 4 })),
    ) as [Actor, Actor, Actor];
    owner.entry(INNER, { flags: GTF_permit_access, domid: middle.id, frame: owner.frame(0) });
    version2(middle);
    transitive(middle, OUTER, {
      flags: GTF_transitive,
      domid: caller.id,
      transDomid: owner.id,
      gref: INNER,
    });
    const status = caller.copy({ ref: OUTER, domid: middle.id }, { gmfn: caller.mfn(1) }, 1);
    expect(status).toBe(GNTST_general_error);
    expect(statusOf(middle, OUTER)).toBe(0);
  });
});

describe('an entry that becomes transitive while it is mapped (SEMANTICS 24)', () => {
  function rewritten() {
    const all = chain();
    const { middle, caller, outer } = all;
    fullPage(middle, OUTER, { flags: GTF_permit_access, domid: caller.id, frame: middle.frame(0) });
    const hostAddr = windowOf(caller.domain);
    const op = { dom: middle.id, ref: OUTER, flags: GNTMAP_host_map | GNTMAP_readonly, hostAddr };
    const { handle, status } = caller.map(op);
    expect(status).toBe(GNTST_okay);
    transitive(middle, OUTER, outer);
    return { ...all, handle, hostAddr };
  }

  it('is not copied: the typed door says so', () => {
    const { owner, middle, caller, read, handle, hostAddr } = rewritten();
    expect(read()).toBe(GNTST_general_error);
    expect(owner.pin(INNER)).toMatchObject({ hstr: 0, hstw: 0 });
    expect(owner.extraReferences(0)).toBe(0);
    expect(middle.pin(OUTER)).toMatchObject({ hstr: 1, hstw: 0 });
    expect(caller.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    expect(read()).toBe(GNTST_okay);
  });

  it('the binary door would try for ever, and says that', () => {
    const { owner, middle, caller } = rewritten();
    const { domain } = caller;
    const bytes = new Uint8Array(gnttabCopy.x86_64.size);
    gnttabCopy.x86_64.encode(new DataView(bytes.buffer), 0, {
      source: { u: { ref: OUTER }, domid: middle.id, offset: 0 },
      dest: { u: { gmfn: BigInt(caller.mfn(1)) }, domid: DOMID_SELF, offset: 0 },
      len: 1,
      flags: GNTCOPY_source_gref,
    });
    writeBytes(domainAddressSpace(domain), PV_VA_BASE, bytes);
    const door = new HypercallDoor(domain);
    const call = () => door.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_copy, PV_VA_BASE, 1);
    expect(call).toThrow(EndlessContinuation);
    expect(owner.pin(INNER)).toMatchObject({ hstr: 0, hstw: 0 });
    expect(owner.extraReferences(0)).toBe(0);
  });
});
