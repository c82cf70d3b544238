/** Taking back a grant in use: who notices nothing of it. See revoke.test.ts. */
import { PageFault, PV_VA_BASE } from '@ringside/gnttab-core';
import { GNTST_okay, GTF_permit_access } from '@ringside/gnttab-core/abi';
import type { AfterRevocation } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { device, none, REF, revocable, ro, rw } from './revoke-world.ts';
import { windowOf } from './world.ts';

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
