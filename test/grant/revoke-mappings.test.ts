/** Taking back a grant in use: what its mapper finds afterwards. See revoke.test.ts. */
import { freePages, PageFault } from '@ringside/gnttab-core';
import {
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { limitXenHeap } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { device, none, REF, revocable, ro, rw } from './revoke-world.ts';
import { windowOf } from './world.ts';

describe.each(['pv', 'translated'] as const)('a %s mapper', (type) => {
  it.each([
    ['writable', rw],
    ['read-only', ro],
  ])('faults where the page was, %s', (_, flags) => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable(type);
    const { handle } = map(flags);
    expect(revoke('fault')).toBe(1);
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(() => mapper.poke(at(), 1)).toThrow(PageFault);
    checkMaptrack(mapper, [handle]);
    expect(unmap(handle)).toBe(GNTST_okay);
    expect(unmap(handle)).toBe(GNTST_bad_handle);
    checkMaptrack(mapper, []);
    end(mapper, granter);
  });

  it('or has a copy of its own, that nobody else sees or changes', () => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable(type);
    const { handle } = map();
    const before = freePages(granter.machine);
    expect(revoke('private-copy')).toBe(1);
    expect(freePages(granter.machine)).toBe(before - 1);
    granter.bytes(granter.mfn(0)).fill(6);
    expect([mapper.peek(at()), mapper.peek(at() + 4095)]).toEqual([5, 5]);
    mapper.poke(at() + 1, 7);
    expect(mapper.peek(at() + 1)).toBe(7);
    expect(granter.bytes(granter.mfn(0))[1]).toBe(6);
    expect(unmap(handle)).toBe(GNTST_okay);
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(freePages(granter.machine)).toBe(before);
    end(granter, mapper);
  });

  it('may only read the copy of what it might only read', () => {
    const { mapper, at, map, revoke } = revocable(type);
    map(ro);
    revoke('private-copy');
    expect(mapper.peek(at())).toBe(5);
    expect(() => mapper.poke(at(), 1)).toThrow(PageFault);
  });

  it('has one copy for all its mappings of the grant', () => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable(type);
    const handles = [map(rw, 0), map(ro, 1), map(rw, 2)].map(({ handle }) => handle);
    expect(revoke('private-copy')).toBe(3);
    mapper.poke(at(0), 9);
    expect([mapper.peek(at(1)), mapper.peek(at(2))]).toEqual([9, 9]);
    handles.forEach((handle, n) => expect(unmap(handle, n)).toBe(GNTST_okay));
    checkMaptrack(mapper, []);
    end(mapper, granter);
  });

  it('without memory for the copy it faults', () => {
    const { granter, mapper, at, map, unmap, revoke } = revocable(type);
    const { handle } = map();
    limitXenHeap(granter.machine, 0);
    expect(revoke('private-copy')).toBe(1);
    limitXenHeap(granter.machine, -1);
    expect(() => mapper.peek(at())).toThrow(PageFault);
    expect(granter.pin(REF)).toEqual(none);
    expect(unmap(handle)).toBe(GNTST_okay);
  });

  it.each(['fault', 'private-copy'] as const)('that dies unmaps nothing more: %s', (then) => {
    const { world, granter, mapper, map, revoke, end } = revocable(type);
    map();
    map(ro, 1);
    revoke(then);
    mapper.destroy();
    expect(world.exists(mapper)).toBe(false);
    expect(granter.pin(REF)).toEqual(none);
    end(granter);
  });
});

describe('a handle stays good for the unmap that its owner will make', () => {
  it('at the address of the copy only', () => {
    const { mapper, at, map, unmap, revoke } = revocable();
    const { handle } = map();
    revoke('private-copy');
    expect(unmap(handle, 1)).toBe(GNTST_general_error);
    expect(mapper.unmap({ handle })).toBe(GNTST_okay); // no address: nothing is done
    checkMaptrack(mapper, [handle]);
    expect(mapper.peek(at())).toBe(5);
    expect(unmap(handle)).toBe(GNTST_okay);
  });

  it('and for unmap_and_replace', () => {
    const { granter, mapper, at, map, revoke, end } = revocable();
    const { handle } = map();
    revoke('private-copy');
    const newAddr = at(1);
    expect(mapper.hypercalls.updateVaMapping(newAddr, mapper.mfn(2), true)).toBe(0);
    expect(mapper.replace({ handle, hostAddr: at(), newAddr })).toBe(GNTST_okay);
    expect(mapper.pte()).toMatchObject({ frame: mapper.mfn(2), foreign: false });
    checkMaptrack(mapper, []);
    end(granter, mapper);
  });

  it.each(['fault', 'private-copy'] as const)(
    'also of its halves, one after the other: %s',
    (then) => {
      const { granter, mapper, at, map, revoke, end } = revocable();
      const { handle, devBusAddr } = map(rw | device);
      expect(revoke(then)).toBe(1);
      expect(granter.extraReferences(0)).toBe(0);
      expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
      checkMaptrack(mapper, [handle]);
      expect(mapper.unmap({ handle, hostAddr: at() })).toBe(GNTST_okay);
      checkMaptrack(mapper, []);
      end(granter, mapper);
    },
  );

  it.each(['fault', 'private-copy'] as const)('also of a device alone: %s', (then) => {
    const { granter, mapper, map, revoke, end } = revocable();
    const { handle, devBusAddr } = map(device);
    const before = freePages(granter.machine);
    expect(revoke(then)).toBe(1);
    expect(granter.extraReferences(0)).toBe(0);
    expect(freePages(granter.machine)).toBe(before); // nobody sees a copy
    expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
    checkMaptrack(mapper, []);
    end(granter, mapper);
  });

  it('also when the granter is gone, and another has its id', () => {
    const { world, granter, mapper, map, unmap, revoke } = revocable();
    const { handle } = map();
    revoke('private-copy');
    granter.destroy();
    expect(world.exists(granter)).toBe(false);
    const heir = world.domain({ domid: granter.id });
    heir.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: heir.frame(0) });
    const op = { dom: heir.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain, 1) };
    expect(mapper.map(op).status).toBe(GNTST_okay);
    expect(unmap(handle)).toBe(GNTST_okay);
    expect(heir.pin(REF)).toEqual({ ...none, hstw: 1 });
  });
});

describe('unmap_and_replace of what faults moves the entry, as it would have without the revocation', () => {
  it('an own page', () => {
    const { granter, mapper, at, map, revoke, end } = revocable();
    const { handle } = map();
    revoke('fault');
    expect(mapper.hypercalls.updateVaMapping(at(1), mapper.mfn(2), true)).toBe(0);
    expect(mapper.replace({ handle, hostAddr: at(), newAddr: at(1) })).toBe(GNTST_okay);
    expect(mapper.pte(0)).toMatchObject({ frame: mapper.mfn(2), foreign: false });
    expect(mapper.pte(1)).toBeUndefined();
    expect(mapper.extraReferences(2)).toBe(1);
    checkMaptrack(mapper, []);
    end(granter, mapper);
  });

  it('another grant’s mapping, whose handle is unmapped there, or revoked there, afterwards', () => {
    for (const then of ['unmapped', 'revoked'] as const) {
      const { granter, mapper, at, map, unmap, revoke, end } = revocable();
      const [gone, moved] = [map(rw, 0), map(rw, 1, REF + 1)];
      revoke('fault');
      const op = { handle: gone.handle, hostAddr: at(0), newAddr: at(1) };
      expect(mapper.replace(op)).toBe(GNTST_okay);
      expect(mapper.peek(at(0))).toBe(5);
      expect(mapper.pte(1)).toBeUndefined();
      checkMaptrack(mapper, [moved.handle]);
      if (then === 'revoked') expect(revoke('fault', REF + 1)).toBe(1);
      expect(unmap(moved.handle, 0)).toBe(GNTST_okay);
      expect(() => mapper.peek(at(0))).toThrow(PageFault);
      expect(granter.extraReferences(0)).toBe(0);
      end(granter, mapper);
    }
  });

  it('no entry: then this is an unmap', () => {
    const { mapper, at, map, revoke } = revocable();
    const { handle } = map();
    revoke('fault');
    expect(mapper.replace({ handle, hostAddr: at(), newAddr: at(1) })).toBe(GNTST_okay);
    expect(mapper.pte(0)).toBeUndefined();
    checkMaptrack(mapper, []);
  });

  it.each([
    ['something is mapped there', 1],
    ['there is no page table', 1 << 20],
  ])('not where %s: the entry is gone, as ever, and the handle is not', (_, where) => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable();
    const [gone, kept] = [map(rw, 0), map(rw, 1, REF + 1)];
    revoke('fault');
    expect(mapper.hypercalls.updateVaMapping(at(2), mapper.mfn(2), true)).toBe(0);
    const op = { handle: gone.handle, hostAddr: at(where), newAddr: at(2) };
    expect(mapper.replace(op)).toBe(GNTST_general_error);
    expect(mapper.pte(2)).toBeUndefined();
    expect(mapper.extraReferences(2)).toBe(0);
    checkMaptrack(mapper, [gone.handle, kept.handle]);
    expect(mapper.peek(at(1))).toBe(5);
    expect(unmap(gone.handle, 1)).toBe(GNTST_okay); // nothing of it is anywhere
    expect(mapper.peek(at(1))).toBe(5);
    expect(unmap(kept.handle, 1)).toBe(GNTST_okay);
    end(granter, mapper);
  });
});

describe('a mapping that is not where it was made', () => {
  it.each([
    ['the other handle is over', rw],
    ['the other handle has its device half yet', rw | device],
  ])('because it took the place of another: %s', (_, flags) => {
    const { granter, mapper, at, map, revoke, unmap, end } = revocable();
    const [moving, replaced] = [map(rw, 0), map(flags, 1)];
    const op = { handle: replaced.handle, hostAddr: at(1), newAddr: at(0) };
    expect(mapper.replace(op)).toBe(GNTST_okay);
    expect(mapper.peek(at(1))).toBe(5);
    revoke('fault');
    expect(() => mapper.peek(at(1))).toThrow(PageFault);
    expect(granter.extraReferences(0)).toBe(0);
    expect(unmap(moving.handle, 1)).toBe(GNTST_okay);
    end(granter, mapper);
  });

  it('because its address was used for another handle', () => {
    const { granter, mapper, at, map, revoke, unmap, end } = revocable();
    const [first, second] = [map(rw, 0), map(rw, 1)];
    expect(unmap(first.handle, 1)).toBe(GNTST_okay); // equal mappings may be crossed (SEMANTICS 11)
    expect(revoke('private-copy')).toBe(1);
    granter.bytes(granter.mfn(0))[0] = 6;
    expect(mapper.peek(at(0))).toBe(5);
    expect(unmap(second.handle, 0)).toBe(GNTST_okay);
    end(granter, mapper);
  });
});
