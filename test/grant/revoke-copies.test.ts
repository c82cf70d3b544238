/** Taking back a grant in use: a private copy that its mapper has overwritten. See revoke.test.ts. */
import { freePages, HypercallDoor, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  XEN_ENOENT,
  XENMEM_remove_from_physmap,
  xenRemoveFromPhysmap,
} from '@ringside/gnttab-core/abi';
import { describeGrants } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { REF, revocable, ro, rw } from './revoke-world.ts';
import type { Actor } from './world.ts';

/** What a domain has mapped and not unmapped, that stands for no grant any more. */
const describeMappings = ({ domain, machine }: Actor) =>
  describeGrants(machine).find(({ domid }) => domid === domain.id)!.looseMappings;

describe('a private copy that its owner overwrites is gone, and its frame is free', () => {
  /** A mapper that has overwritten its private copy; the granter has the copy’s frame as a new page, behind REF + 1. */
  function recycled(flags: number) {
    const all = revocable();
    const { world, granter, mapper, at, map, revoke } = all;
    const { handle } = map(flags);
    revoke('private-copy');
    const copy = mapper.pte()!.frame;
    const before = freePages(world.machine);
    expect(mapper.hypercalls.updateVaMapping(at(), null, false)).toBe(0);
    expect(freePages(world.machine)).toBe(before + 1);
    expect(granter.hypercalls.increaseReservation(1)).toEqual([copy]);
    granter.entry(REF + 1, { flags: GTF_permit_access, domid: mapper.id, frame: copy });
    return { ...all, handle, copy };
  }

  it.each([
    ['writable', rw],
    ['read-only', ro],
  ])('its handle is not the next mapping’s of that frame at that place, %s', (_, flags) => {
    const { granter, mapper, map, unmap, handle, copy, end } = recycled(flags);
    const next = map(flags, 0, REF + 1);
    const pin = granter.pin(REF + 1);
    expect(unmap(handle)).toBe(GNTST_okay); // nothing of it is left
    expect(mapper.pte()?.frame).toBe(copy);
    expect(granter.pin(REF + 1)).toEqual(pin);
    checkMaptrack(mapper, [next.handle]);
    expect(unmap(handle)).toBe(GNTST_bad_handle);
    expect(unmap(next.handle)).toBe(GNTST_okay);
    end(granter, mapper);
  });

  it('its handle is shown as revoked, with no frame', () => {
    const { granter, mapper, handle } = recycled(rw);
    const [loose] = describeMappings(mapper);
    expect(loose).toMatchObject({ handle, granter: granter.id, state: 'revoked' });
    expect(loose).not.toHaveProperty('frame');
    expect(loose).not.toHaveProperty('place');
  });

  it('the other handles of the copy keep it, and it is freed once', () => {
    const { world, granter, mapper, at, map, unmap, revoke, end } = revocable();
    const handles = [map(rw, 0), map(rw, 1), map(ro, 2)].map(({ handle }) => handle);
    revoke('private-copy');
    const before = freePages(world.machine);
    mapper.hypercalls.updateVaMapping(at(0), mapper.mfn(2), true);
    map(rw, 1, REF + 1); // over another
    expect(mapper.peek(at(2))).toBe(5);
    expect(unmap(handles[0]!, 0)).toBe(GNTST_okay);
    expect(unmap(handles[1]!, 1)).toBe(GNTST_okay);
    expect(mapper.pte(0)?.frame).toBe(mapper.mfn(2));
    expect(mapper.pte(1)?.frame).toBe(granter.mfn(0));
    expect(freePages(world.machine)).toBe(before);
    expect(unmap(handles[2]!, 2)).toBe(GNTST_okay);
    expect(freePages(world.machine)).toBe(before + 1);
    end(mapper, granter);
  });

  it('the other of two that were crossed', () => {
    const { mapper, at, map, unmap, revoke } = revocable();
    const [first, second] = [map(rw, 0), map(rw, 1)];
    revoke('private-copy');
    expect(unmap(first.handle, 1)).toBe(GNTST_okay); // the second is at 0 now
    mapper.hypercalls.updateVaMapping(at(0), null, false);
    expect(describeMappings(mapper)[0]).not.toHaveProperty('frame');
    expect(unmap(second.handle, 0)).toBe(GNTST_okay);
    checkMaptrack(mapper, []);
  });

  it('so is one that gives way to an unmap_and_replace that fails', () => {
    const { world, granter, mapper, at, map, unmap, revoke, end } = revocable();
    const [copied, other] = [map(rw, 0), map(rw, 1, REF + 1)];
    revoke('private-copy');
    const before = freePages(world.machine);
    const failing = { handle: other.handle, hostAddr: at(9), newAddr: at(0) };
    expect(mapper.replace(failing)).toBe(GNTST_general_error);
    expect(freePages(world.machine)).toBe(before + 1);
    expect(unmap(copied.handle, 0)).toBe(GNTST_okay);
    expect(unmap(other.handle, 1)).toBe(GNTST_okay);
    end(granter, mapper);
  });

  it('one that was lost before is no copy at all', () => {
    const { world, granter, mapper, at, map, unmap, revoke, end } = revocable();
    const { handle } = map();
    mapper.hypercalls.updateVaMapping(at(), null, false);
    const before = freePages(world.machine);
    revoke('private-copy');
    expect(freePages(world.machine)).toBe(before);
    expect(describeMappings(mapper)[0]).not.toHaveProperty('frame');
    expect(unmap(handle)).toBe(GNTST_okay);
    end(granter, mapper);
  });

  it('of a translated domain it stays: nothing but an unmap takes it out of the p2m', () => {
    const { world, granter, mapper, at, map, unmap, revoke, end } = revocable('translated');
    const { handle } = map();
    revoke('private-copy');
    const argument = xenRemoveFromPhysmap.x86_64;
    const fields = { domid: DOMID_SELF, gpfn: BigInt(at() / PAGE_SIZE) };
    argument.encode(world.machine.heap.view, mapper.mfn(1) * PAGE_SIZE, fields);
    const door = new HypercallDoor(mapper.domain);
    const call = [__HYPERVISOR_memory_op, XENMEM_remove_from_physmap, PAGE_SIZE] as const;
    expect(door.hypercall(...call)).toBe(-XEN_ENOENT);
    expect(mapper.hypercalls.decreaseReservation([at() / PAGE_SIZE])).toBe(0);
    expect(mapper.peek(at())).toBe(5);
    expect(unmap(handle)).toBe(GNTST_okay);
    end(granter, mapper);
  });
});
