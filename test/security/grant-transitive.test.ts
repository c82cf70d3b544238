/** Security catalogue, grant tables: version 2's grants of other domains' grants, and of parts of pages. */
import { PageFault } from '@ringside/gnttab-core';
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_readonly,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { type Actor, windowOf, World } from '../grant/world.ts';
import {
  domainOf,
  entryV2,
  expectQuiet,
  permit,
  permitSubPage,
  permitTransitive,
  probe,
  REF,
  ro,
  rw,
} from './grant-world.ts';
import { atTheSameTime } from './grant-threads.ts';
import { atEveryStep, watchSteps } from './interleave.ts';

const PLAIN = 9;

/** Three granters and the one that copies. Owner's page 0 is full of 0x11, its page 1 of 0x22. */
function chain(pages = 1024) {
  const world = new World(pages);
  const [a, b, c] = [domainOf(world, 2), domainOf(world, 2), domainOf(world, 2)];
  const t = world.domain();
  for (const actor of [a, b, c]) {
    actor.bytes(actor.mfn(0)).fill(0x11);
    actor.bytes(actor.mfn(1)).fill(0x22);
  }
  t.bytes(t.mfn(0)).fill(0x33);
  const local = { gmfn: t.mfn(0) };
  const copy = (granter: Actor, ref = REF) => t.copy({ ref, domid: granter.id }, local, 64);
  const quiet = () => {
    for (const actor of [a, b, c]) {
      for (const ref of [REF, PLAIN]) expectQuiet(actor, ref);
      for (const gfn of [0, 1]) expect(actor.extraReferences(gfn)).toBe(0);
    }
  };
  return { world, machine: world.machine, a, b, c, t, local, copy, quiet };
}

/** What arrived at the copier's page 0. */
const arrived = (t: Actor) => t.bytes(t.mfn(0))[0];

describe('a grant of a grant', () => {
  it('GT-12: goes one level deep', () => {
    const { a, b, t, copy, quiet } = chain();
    permit(b, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: b.mfn(0) });
    permitTransitive(a, REF, t.id, b, PLAIN);
    expect([copy(a), arrived(t)]).toEqual([GNTST_okay, 0x11]);
    quiet();
    probe(b, t);
  });

  it('GT-12: is refused in a circle, at every entry of it', () => {
    const { a, b, c, t, copy, quiet } = chain();
    permitTransitive(a, REF, t.id, b, REF);
    permitTransitive(b, REF, a.id, c, REF);
    permitTransitive(c, REF, b.id, a, REF);
    // The copier is whom the entry names, where it names a domain of the circle.
    expect(copy(a)).toBe(GNTST_general_error);
    for (const [granter, copier] of [
      [b, a],
      [c, b],
    ] as const) {
      const status = copier.copy({ ref: REF, domid: granter.id }, { gmfn: copier.mfn(2) }, 8);
      expect(status).toBe(GNTST_general_error);
    }
    expect(arrived(t)).toBe(0x33);
    quiet();
    probe(a, t);
  });

  it('GT-12: is refused to itself, and two levels deep', () => {
    const { a, b, c, t, copy, quiet } = chain();
    permitTransitive(a, REF, t.id, a, REF);
    expect(copy(a)).toBe(GNTST_general_error);
    permit(a, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: a.mfn(0) });
    permitTransitive(a, REF, t.id, a, PLAIN);
    expect(copy(a)).toBe(GNTST_general_error);
    permit(c, PLAIN, { flags: GTF_permit_access, domid: b.id, frame: c.mfn(0) });
    permitTransitive(b, REF, a.id, c, PLAIN);
    permitTransitive(a, REF, t.id, b, REF);
    expect(copy(a)).toBe(GNTST_general_error);
    expect(arrived(t)).toBe(0x33);
    quiet();
  });

  const flips: [string, (scene: ReturnType<typeof chain>) => void][] = [
    ['the middle becomes invalid', ({ a }) => a.setFlags(REF, 0)],
    [
      'the middle becomes a plain grant',
      ({ a, t }) => permit(a, REF, { flags: GTF_permit_access, domid: t.id, frame: a.mfn(0) }),
    ],
    ['the middle points elsewhere', ({ a, t, c }) => permitTransitive(a, REF, t.id, c, PLAIN)],
    ['the end becomes invalid', ({ b }) => b.setFlags(PLAIN, 0)],
    ['the end becomes read-only', ({ b }) => b.setFlags(PLAIN, GTF_permit_access | GTF_readonly)],
  ];
  const directions = flips.flatMap(([name, flip]) =>
    (['from', 'to'] as const).map((direction) => ({ name, flip, direction })),
  );
  it.each(directions)(
    'GT-12: while $name at any step of a copy $direction it, nothing stays pinned',
    ({ flip, direction }) => {
      const steps = atEveryStep(() => {
        const scene = chain(512);
        const { machine, a, b, c, t, local, quiet } = scene;
        permit(b, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: b.mfn(0) });
        permit(c, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: c.mfn(0) });
        permitTransitive(a, REF, t.id, b, PLAIN);
        let status = 1;
        const remote = { ref: REF, domid: a.id };
        const [from, to] = direction === 'from' ? [remote, local] : [local, remote];
        return {
          machine,
          op: () => (status = t.copy(from, to, 64)),
          race: () => flip(scene),
          check: () => {
            expect(status).toBeLessThanOrEqual(0);
            for (const actor of [a, b, c]) expect(actor.bytes(actor.mfn(1))[0]).toBe(0x22);
            if (status !== GNTST_okay) {
              expect(arrived(t)).toBe(0x33);
              for (const actor of [a, b, c]) expect(actor.bytes(actor.mfn(0))[0]).toBe(0x11);
            } else if (direction === 'from') expect(arrived(t)).toBe(0x11);
            quiet();
            probe(a, t);
          },
        };
      });
      expect(steps).toBeGreaterThan(10);
    },
  );

  it('GT-13: is never mapped, and its reference never taken for a frame', () => {
    const { a, b, t, quiet } = chain();
    permit(b, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: b.mfn(0) });
    const hostAddr = windowOf(t.domain);
    const map = (flags: number) => t.map({ dom: a.id, ref: REF, flags, hostAddr }).status;
    // The second reference is, as a number, a frame of the granter's.
    for (const behindRef of [PLAIN, a.mfn(1)]) {
      permitTransitive(a, REF, t.id, b, behindRef);
      for (const flags of [ro, rw]) expect(map(flags)).toBe(GNTST_general_error);
      expect(() => t.peek(hostAddr)).toThrow(PageFault);
      quiet();
    }
  });

  it('GT-13: nor is it mapped while a copy has it pinned', () => {
    const { machine, a, b, t, copy, quiet } = chain();
    permit(b, PLAIN, { flags: GTF_permit_access, domid: a.id, frame: b.mfn(0) });
    permitTransitive(a, REF, t.id, b, PLAIN);
    const statuses: number[] = [];
    {
      using _watch = watchSteps(machine, (step) => {
        if (step !== 'copy') return;
        const hostAddr = windowOf(t.domain);
        expect(a.pin(REF).hstr).toBe(1);
        // Even if it looks like a whole page by now.
        permit(a, REF, { flags: GTF_permit_access, domid: t.id, frame: a.mfn(1) });
        for (const flags of [ro, rw]) {
          statuses.push(t.map({ dom: a.id, ref: REF, flags, hostAddr }).status);
        }
      });
      expect(copy(a)).toBe(GNTST_okay);
    }
    expect(statuses).toEqual([GNTST_general_error, GNTST_general_error]);
    expect(arrived(t)).toBe(0x11);
    quiet();
  });

  it('GT-32: two that stand for each other fail both at once, and wait for nobody', async () => {
    const { world, machine, a, b, c, t, quiet } = chain();
    permitTransitive(a, REF, b.id, b, REF);
    permitTransitive(b, REF, a.id, a, REF);
    const rounds = 3000;
    const wrong = await atTheSameTime(machine, c.mfn(9), [
      { kind: 'copy', domain: b.id, granter: a.id, gmfn: b.mfn(2), rounds },
      { kind: 'copy', domain: a.id, granter: b.id, gmfn: a.mfn(2), rounds },
    ]);
    expect(wrong).toEqual([0, 0]);
    quiet();
    expect(world.exists(a)).toBe(true);
    probe(a, t);
    probe(b, t);
  });
});

describe('a grant of part of a page', () => {
  it('GT-46: is copied within its bytes only, and never mapped', () => {
    const { a, t, local, quiet } = chain();
    permitSubPage(a, REF, { flags: 0, domid: t.id, frame: a.mfn(0) }, 100, 50);
    const remote = (offset: number) => ({ ref: REF, domid: a.id, offset });
    const inside = [
      [100, 50],
      [100, 1],
      [149, 1],
      [120, 30],
    ] as const;
    const outside = [
      [99, 2],
      [149, 2],
      [0, 4096],
      [99, 1],
      [150, 1],
      [0, 100],
      [150, 3946],
    ] as const;
    for (const [offset, len] of outside) {
      expect(t.copy(remote(offset), local, len)).toBe(GNTST_general_error);
      expect(t.copy(local, remote(offset), len)).toBe(GNTST_general_error);
    }
    expect(arrived(t)).toBe(0x33);
    expect(a.bytes(a.mfn(0)).every((byte) => byte === 0x11)).toBe(true);
    for (const [offset, len] of inside) {
      expect(t.copy(remote(offset), local, len)).toBe(GNTST_okay);
      expect(t.copy({ gmfn: t.mfn(1) }, remote(offset), len)).toBe(GNTST_okay);
    }
    const written = Uint8Array.from(a.bytes(a.mfn(0)));
    expect(written.subarray(100, 150)).toEqual(new Uint8Array(50));
    expect(written.findIndex((byte) => byte === 0)).toBe(100);
    expect(written.findLastIndex((byte) => byte === 0)).toBe(149);
    const hostAddr = windowOf(t.domain);
    for (const flags of [ro, rw]) {
      expect(t.map({ dom: a.id, ref: REF, flags, hostAddr }).status).toBe(GNTST_general_error);
    }
    quiet();
  });

  it('GT-46: bounds what a grant of it can reach', () => {
    const { a, b, t, local, quiet } = chain();
    permitSubPage(b, PLAIN, { flags: 0, domid: a.id, frame: b.mfn(0) }, 100, 50);
    permitTransitive(a, REF, t.id, b, PLAIN);
    const copy = (offset: number, len: number) =>
      t.copy({ ref: REF, domid: a.id, offset }, local, len);
    expect(copy(100, 50)).toBe(GNTST_okay);
    expect(copy(99, 2)).toBe(GNTST_general_error);
    expect(copy(149, 2)).toBe(GNTST_general_error);
    quiet();
  });

  // As recorded: 15 bits of the start are kept, and what reaches beyond the page ends with it.
  it('GT-46: never reaches beyond its page, whatever the granter writes', () => {
    const { a, t, local, quiet } = chain();
    for (const [start, length] of [
      [4090, 0xffff],
      [0x7fff, 0xffff],
      [0xffff, 0xffff],
      [4096, 4096],
    ] as const) {
      permitSubPage(a, REF, { flags: 0, domid: t.id, frame: a.mfn(0) }, start, length);
      expect(entryV2(a, REF).sub_page.page_off).toBe(start);
      for (const offset of [4095, 4096, 0x7fff, 0xfffe]) {
        expect(t.copy({ ref: REF, domid: a.id, offset }, local, 2)).toBeLessThan(0);
      }
    }
    quiet();
  });
});
