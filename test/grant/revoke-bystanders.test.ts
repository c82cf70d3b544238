/** Taking back a grant in use: who notices nothing of it. See revoke.test.ts. */
import { HypercallDoor, PageFault, PV_VA_BASE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_update_va_mapping,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import {
  _PAGE_ACCESSED,
  _PAGE_DIRTY,
  _PAGE_NX_HI,
  _PAGE_PRESENT,
  _PAGE_RW,
  type AfterRevocation,
  copyEnd,
  copyOne,
  makePte,
} from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fullPage, statusOf, version2 } from './entries-v2.ts';
import { checkMaptrack } from './invariants.ts';
import { device, none, REF, revocable, ro, rw } from './revoke-world.ts';
import { copyOp, windowOf } from './world.ts';

describe.each(['pv', 'translated'] as const)('a %s mapper', (type) => {
  it('keeps what it has of the page by another grant', () => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable(type);
    const [revoked, kept] = [map(rw, 0), map(ro, 1, REF + 1)];
    expect(revoke('fault')).toBe(1);
    expect(() => mapper.peek(at(0))).toThrow(PageFault);
    granter.bytes(granter.mfn(0))[0] = 55;
    expect(mapper.peek(at(1))).toBe(55);
    expect(granter.pin(REF + 1)).toEqual({ ...none, hstr: 1 });
    expect(unmap(revoked.handle, 0)).toBe(GNTST_okay);
    expect(unmap(kept.handle, 1)).toBe(GNTST_okay);
    end(granter, mapper);
  });

  it.each<[string, AfterRevocation, number, number]>([
    ['fault, the revoked one first', 'fault', 0, 1],
    ['fault, the kept one first', 'fault', 1, 0],
    ['private copy, the revoked one first', 'private-copy', 0, 1],
    ['private copy, the kept one first', 'private-copy', 1, 0],
  ])('even with the same access: %s', (_, then, revokedAt, keptAt) => {
    const { granter, mapper, at, map, unmap, revoke, end } = revocable(type);
    const revoked = map(rw, revokedAt);
    const kept = map(rw, keptAt, REF + 1);
    expect(revoke(then)).toBe(1);
    granter.bytes(granter.mfn(0))[0] = 55;
    expect(mapper.peek(at(keptAt))).toBe(55);
    if (then === 'fault') expect(() => mapper.peek(at(revokedAt))).toThrow(PageFault);
    else expect(mapper.peek(at(revokedAt))).toBe(5);
    expect(unmap(revoked.handle, revokedAt)).toBe(GNTST_okay);
    expect(unmap(kept.handle, keptAt)).toBe(GNTST_okay);
    end(granter, mapper);
  });
});

describe('nobody else notices', () => {
  it('another grant of the page, mapped over the mapping that is taken back', () => {
    const { granter, mapper, at, map, unmap, revoke } = revocable();
    map(rw, 0);
    const kept = map(rw, 0, REF + 1);
    revoke('fault');
    expect(granter.pin(REF)).toEqual(none);
    expect(mapper.peek(at(0))).toBe(5);
    expect(unmap(kept.handle, 0)).toBe(GNTST_okay);
  });

  it('another domain with a grant of the same page', () => {
    const { world, granter, mapper, map, revoke } = revocable();
    const other = world.domain();
    granter.entry(20, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const hostAddr = windowOf(other.domain);
    const op = other.map({ dom: granter.id, ref: 20, flags: rw, hostAddr });
    map();
    revoke('fault');
    other.poke(hostAddr, 66);
    expect(granter.bytes(granter.mfn(0))[0]).toBe(66);
    expect(granter.pin(20)).toEqual({ ...none, hstw: 1 });
    expect(other.unmap({ handle: op.handle, hostAddr })).toBe(GNTST_okay);
    expect(mapper.domain.crashed).toBe(false);
  });

  it('the granter’s own mapping of the page, even if it mapped its own grant', () => {
    const { granter, revoke } = revocable();
    granter.entry(REF, { flags: GTF_permit_access, domid: granter.id, frame: granter.frame(0) });
    const hostAddr = windowOf(granter.domain);
    const op = granter.map({ dom: granter.id, ref: REF, flags: rw, hostAddr });
    expect(op.status).toBe(GNTST_okay);
    expect(revoke('fault')).toBe(1);
    expect(() => granter.peek(hostAddr)).toThrow(PageFault);
    expect(granter.peek(PV_VA_BASE)).toBe(5);
    expect(granter.unmap({ handle: op.handle, hostAddr })).toBe(GNTST_okay);
  });

  it('a domain’s own page, mapped over another grant of it to itself', () => {
    const { granter, revoke } = revocable();
    const hostAddr = windowOf(granter.domain);
    for (const ref of [REF, REF + 1]) {
      granter.entry(ref, { flags: GTF_permit_access, domid: granter.id, frame: granter.frame(0) });
      const op = granter.map({ dom: granter.id, ref, flags: rw, hostAddr });
      expect(op.status).toBe(GNTST_okay);
    }
    revoke('fault');
    expect(granter.pin(REF + 1)).toEqual({ ...none, hstw: 1 });
    expect(granter.peek(hostAddr)).toBe(5);
  });

  it('whoever has the private copy from its owner keeps it when that dies', () => {
    const { world, granter, mapper, map, revoke, end } = revocable();
    map();
    revoke('private-copy');
    const third = world.domain();
    mapper.entry(30, { flags: GTF_permit_access, domid: third.id, frame: mapper.pte()!.frame });
    const hostAddr = windowOf(third.domain);
    const op = third.map({ dom: mapper.id, ref: 30, flags: ro, hostAddr });
    expect(op.status).toBe(GNTST_okay);
    mapper.destroy();
    expect(third.peek(hostAddr)).toBe(5);
    expect(third.unmap({ handle: op.handle, hostAddr })).toBe(GNTST_okay);
    expect(world.exists(mapper)).toBe(false);
    end(granter, third);
  });
});

describe('a mapping whose place is unknown ends by its pin alone', () => {
  it('and not another of the frame: an own page that its domain maps as grants are', () => {
    const { granter, revoke } = revocable();
    granter.entry(REF, { flags: GTF_permit_access, domid: granter.id, frame: granter.frame(0) });
    const hostAddr = windowOf(granter.domain, 0);
    expect(granter.map({ dom: granter.id, ref: REF, flags: rw, hostAddr }).status).toBe(GNTST_okay);
    expect(granter.hypercalls.updateVaMapping(hostAddr, null, false)).toBe(0);
    const own = windowOf(granter.domain, 1);
    const flags = _PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY;
    const { lo, hi } = makePte(granter.mfn(0), flags, 0);
    const noExec = (BigInt(hi | _PAGE_NX_HI) << 32n) | BigInt(lo);
    const door = new HypercallDoor(granter.domain);
    expect(door.hypercall(__HYPERVISOR_update_va_mapping, own, noExec, 0)).toBe(0);
    expect(revoke('fault')).toBe(1);
    expect(granter.pin(REF)).toEqual(none);
    expect(granter.peek(own)).toBe(5);
  });

  it('and not one that was made where it was, after an unmap_and_replace that failed', () => {
    const { granter, mapper, at, map, unmap, revoke } = revocable();
    const [other, lost] = [map(ro, 3, REF + 1), map(rw, 1)];
    const failing = { handle: other.handle, hostAddr: at(9), newAddr: at(1) };
    expect(mapper.replace(failing)).toBe(GNTST_general_error); // at(1) is empty now
    const kept = map(rw, 1, REF + 1);
    expect(revoke('fault')).toBe(1);
    expect(granter.pin(REF)).toEqual(none);
    expect(mapper.peek(at(1))).toBe(5);
    expect(unmap(lost.handle, 9)).toBe(GNTST_okay);
    expect(unmap(kept.handle, 1)).toBe(GNTST_okay);
  });

  it('by the rule of 2005 the other handle has its place: nothing of the page stays mapped', () => {
    const { granter, mapper, at, map, revoke, end } = revocable('pv', { unmapOnOverwrite: true });
    map(rw, 0);
    map(rw, 1);
    mapper.hypercalls.updateVaMapping(at(1), null, false); // the first handle goes
    expect(mapper.peek(at(0))).toBe(5);
    expect(revoke('fault')).toBe(1);
    expect(() => mapper.peek(at(0))).toThrow(PageFault);
    expect(granter.extraReferences(0)).toBe(0);
    end(mapper, granter);
  });
});

describe('a copy under way keeps its pin', () => {
  it.each([1, 2] as const)('version %i: and the grant is in use until it is over', (version) => {
    const { granter, mapper, map, revoke } = revocable();
    const entry = { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) };
    if (version === 2) fullPage(version2(granter), REF, entry);
    const inUse = () => (version === 1 ? granter.flags(REF) : statusOf(granter, REF));
    map(rw, 0);
    map(rw | device, 1);
    map(ro, 2);
    const op = copyOp({ ref: REF, domid: granter.id }, { gmfn: mapper.frame(1) }, 16);
    copyOne(mapper.domain, op); // its pin stays until copyEnd
    expect(granter.pin(REF)).toEqual({ hstw: 2, hstr: 2, devw: 1, devr: 0 });
    expect(revoke('fault')).toBe(3);
    expect(granter.pin(REF)).toEqual({ ...none, hstr: 1 });
    expect(inUse()).toBe(GTF_reading);
    copyEnd(mapper.domain);
    expect(granter.pin(REF)).toEqual(none);
    expect(inUse()).toBe(0);
    expect(granter.flags(REF)).toBe(0);
    expect(granter.extraReferences(0)).toBe(0);
  });

  it('and is nothing to take back', () => {
    const { granter, mapper, revoke } = revocable();
    const op = copyOp({ gmfn: mapper.frame(1) }, { ref: REF, domid: granter.id }, 16);
    copyOne(mapper.domain, op);
    expect(revoke('fault')).toBe(0);
    expect(granter.pin(REF)).toEqual({ ...none, hstw: 1 });
    expect(granter.flags(REF)).toBe(GTF_reading | GTF_writing);
    copyEnd(mapper.domain);
    expect(granter.flags(REF)).toBe(0);
    expect(granter.domain.counters().revocations).toBe(0);
  });
});

/** What a mapper may have of a page when its grant is taken back. */
const mappings = fc.array(
  fc.record({
    flags: fc.constantFrom(rw, ro, device, rw | device),
    ref: fc.constantFrom(REF, REF + 1),
  }),
  { minLength: 1, maxLength: 12 },
);

it.each(['fault', 'private-copy'] as const)(
  '%s: whatever was mapped, its pins go and the others’ stay, and every handle can be unmapped somewhere',
  (then) => {
    fc.assert(
      fc.property(mappings, (choices) => {
        const { granter, mapper, at, map, revoke, end } = revocable();
        const made = choices.map(({ flags, ref }, n) => ({
          ref,
          flags,
          n,
          op: map(flags, n, ref),
        }));
        const kept = granter.pin(REF + 1);
        revoke(then);
        expect(granter.pin(REF)).toEqual(none);
        expect(granter.pin(REF + 1)).toEqual(kept);
        expect(granter.extraReferences(0)).toBe(kept.hstw + kept.hstr + kept.devw + kept.devr);
        const places = made.map(({ n }) => n);
        for (const { op, flags } of made) {
          const { handle, devBusAddr } = op;
          if (flags & device) expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
          if (flags & rw) {
            const unmap = (n: number) => mapper.unmap({ handle, hostAddr: at(n) }) === GNTST_okay;
            expect(places.some(unmap)).toBe(true);
          }
        }
        checkMaptrack(mapper, []);
        end(granter, mapper);
      }),
      { numRuns: 40 },
    );
  },
);
