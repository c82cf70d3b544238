/** Security catalogue, grant tables: the version changes while somebody else is in the middle of something. */
import { GnttabTransfer, ownerOf, PAGE_SIZE, PageFault } from '@ringside/gnttab-core';
import {
  DOMID_XEN,
  GNTST_bad_gntref,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  XEN_EAGAIN,
  XEN_EBUSY,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE_grant_table,
} from '@ringside/gnttab-core/abi';
import {
  allocXenHeapPage,
  getPage,
  nrStatusFrames,
  putPage,
  p2mEntry,
  entryFrame,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkPageList } from '../grant/invariants.ts';
import { type Actor, World } from '../grant/world.ts';
import {
  domainOf,
  expectQuiet,
  granted,
  permit,
  permitTransitive,
  probe,
  REF,
  ro,
  rw,
} from './grant-world.ts';
import { atEveryStep } from './interleave.ts';

const VERSION_BUSY = [-XEN_EBUSY, -XEN_EAGAIN];

/** A change of version as another virtual CPU makes it; the status frames that go are somebody else's from then on. */
function racingChange(actor: Actor, version: 1 | 2) {
  let result: number | undefined;
  const gone: Uint8Array[] = [];
  return {
    race: () => {
      const count = nrStatusFrames(actor.domain);
      const frames = Array.from({ length: count }, (_, i) => statusFrameAt(actor.domain, i));
      result = actor.hypercalls.setGrantVersion(version);
      if (result !== 0 || version === 2) return;
      // What was freed last is had first.
      for (const _ of frames) gone.push(actor.bytes(allocXenHeapPage(actor.machine)).fill(0xff));
    },
    /** It was refused in one of the ways there are, or nobody has touched what was freed. */
    check: () => {
      if (result !== 0 && result !== undefined) expect(VERSION_BUSY).toContain(result);
      for (const bytes of gone) expect(bytes.every((byte) => byte === 0xff)).toBe(true);
    },
    get happened() {
      return result === 0;
    },
  };
}

describe('an operation in whose middle the version changes', () => {
  const uses: [string, (scene: ReturnType<typeof granted>) => number][] = [
    ['mapped', ({ map }) => map(rw).status],
    ['mapped read-only', ({ map }) => map(ro).status],
    ['copied from', ({ mapper, remote, local }) => mapper.copy(remote, local, 8)],
    ['copied to', ({ mapper, remote, local }) => mapper.copy(local, remote, 8)],
  ];
  it.each(uses)('GT-35: from 2 to 1 while a grant is %s', (_, use) => {
    const steps = atEveryStep(() => {
      const scene = granted(2, GTF_permit_access, 512);
      const { machine, granter, mapper, unmap } = scene;
      const change = racingChange(granter, 1);
      let status = 1;
      return {
        machine,
        op: () => (status = use(scene)),
        race: change.race,
        check: () => {
          expect([GNTST_okay, GNTST_general_error]).toContain(status);
          change.check();
          unmap(0);
          expectQuiet(granter, REF);
          expect(granter.extraReferences(0)).toBe(0);
          probe(granter, mapper);
        },
      };
    });
    expect(steps).toBeGreaterThan(5);
  });

  it.each(uses)(
    'GT-35: from 1 to 2, which halves the table, while its last entry is %s',
    (_, use) => {
      atEveryStep(() => {
        const scene = granted(1, GTF_permit_access, 512);
        const { machine, granter, mapper, entry } = scene;
        const ref = 511;
        permit(granter, ref, entry);
        const change = racingChange(granter, 2);
        let status = 1;
        const { remote, map } = scene;
        const last = {
          ...scene,
          remote: { ...remote, ref },
          map: (flags = rw) => map(flags, 0, ref),
        };
        return {
          machine,
          op: () => (status = use(last)),
          race: change.race,
          check: () => {
            expect([GNTST_okay, GNTST_general_error, GNTST_bad_gntref]).toContain(status);
            change.check();
            scene.unmap(0);
            expect(granter.extraReferences(0)).toBe(0);
            probe(granter, mapper);
          },
        };
      });
    },
  );

  it('GT-35: from 2 to 1 while a grant of a grant is copied: at either domain', () => {
    for (const victim of ['middle', 'owner'] as const) {
      const steps = atEveryStep(() => {
        const world = new World(512);
        const actors = { middle: domainOf(world, 2), owner: domainOf(world, 2) };
        const { middle, owner } = actors;
        const copier = world.domain();
        permit(owner, REF, { flags: GTF_permit_access, domid: middle.id, frame: owner.mfn(0) });
        permitTransitive(middle, REF, copier.id, owner, REF);
        const change = racingChange(actors[victim], 1);
        const from = { ref: REF, domid: middle.id };
        let status = 1;
        return {
          machine: world.machine,
          op: () => (status = copier.copy(from, { gmfn: copier.mfn(0) }, 8)),
          race: change.race,
          check: () => {
            expect(status).toBeLessThanOrEqual(0);
            change.check();
            for (const actor of [middle, owner]) {
              expectQuiet(actor, REF);
              expect(actor.extraReferences(0)).toBe(0);
              probe(actor, copier);
            }
          },
        };
      });
      expect(steps).toBeGreaterThan(10);
    }
  });

  it.each([
    [2, 1],
    [1, 2],
  ] as const)('GT-35: from %i to %i while the receiver is given a frame', (from, to) => {
    atEveryStep(() => {
      const { machine, granter: receiver, mapper: giver, other } = granted(from, 0, 512);
      permit(receiver, REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
      const mfn = giver.detach(3);
      const change = racingChange(receiver, to);
      const op = Object.assign(new GnttabTransfer(), {
        mfn,
        domid: receiver.id,
        ref: REF,
        status: 1,
      });
      const later = { flags: GTF_permit_access, domid: other.id, frame: receiver.mfn(1) };
      return {
        machine,
        op: () => giver.hypercalls.gnttabTransfer([op]),
        race: () => {
          change.race();
          // The table is empty now, and its guest puts the reference to another use.
          if (change.happened) permit(receiver, REF, later);
        },
        check: () => {
          expect([GNTST_okay, GNTST_general_error, GNTST_bad_page]).toContain(op.status);
          change.check();
          const arrived = op.status === GNTST_okay ? 1 : 0;
          expect(receiver.domain.totPages).toBe(16 + arrived);
          if (arrived) expect(ownerOf(machine, mfn)).toBe(receiver.id);
          checkPageList(receiver);
          checkPageList(giver);
          const mapped = other.map({ dom: receiver.id, ref: REF, flags: 1 });
          if (mapped.status === GNTST_okay) expect(mapped.devBusAddr).toBe(later.frame * PAGE_SIZE);
          probe(receiver, giver);
        },
      };
    });
  });
});

describe('status frames that go while they are mapped', () => {
  /** The gfns of a translated domain behind which there is a frame that is not its own. */
  const strays = (actor: Actor) =>
    Array.from({ length: 64 }, (_, gfn) => gfn).filter((gfn) => {
      const entry = p2mEntry(actor.domain, gfn);
      return entry !== 0 && ownerOf(actor.machine, entryFrame(entry)) !== actor.id;
    });
  const mapStatus = (actor: Actor, gfn: number) =>
    actor.hypercalls.addToPhysmap(XENMAPSPACE_grant_table, XENMAPIDX_grant_table_status, gfn);

  it('GT-28: a translated domain has them at one place, and at none when they are gone', () => {
    const world = new World(1024);
    const actor = domainOf(world, 2, { type: 'translated' });
    const frame = statusFrameAt(actor.domain, 0);
    for (const gfn of [40, 41]) expect(mapStatus(actor, gfn)).toBe(0);
    expect([actor.mfn(40), actor.mfn(41)]).toEqual([0xffff_ffff, frame]);
    expect(actor.hypercalls.setGrantVersion(1)).toBe(0);
    for (const gfn of [40, 41]) expect(() => actor.peek(gfn * PAGE_SIZE)).toThrow(PageFault);
    expect(strays(actor)).toEqual([]);
    const next = world.domain({ pages: 32 });
    expect([DOMID_XEN, next.id]).toContain(ownerOf(world.machine, frame));
    expect(strays(actor)).toEqual([]);
  });

  it.each([
    ['mapped', 'changed'],
    ['changed', 'mapped'],
  ])('GT-28: %s by one virtual CPU while %s by another, at every step', (first) => {
    atEveryStep(() => {
      const world = new World(512);
      const actor = domainOf(world, 2, { type: 'translated' });
      const peer = world.domain();
      // There is RAM at one of the places, which has to go first.
      const map = () => void [40, 3].map((gfn) => mapStatus(actor, gfn));
      const change = racingChange(actor, 1);
      const [op, race] = first === 'mapped' ? [map, change.race] : [change.race, map];
      return {
        machine: world.machine,
        op,
        race,
        check: () => {
          change.check();
          expect(strays(actor)).toEqual([]);
          probe(actor, peer);
        },
      };
    });
  });

  it('GT-28: a reference that somebody takes at any step keeps them, or is not to be had', () => {
    atEveryStep(() => {
      const world = new World(512);
      const actor = domainOf(world, 2);
      const peer = world.domain();
      const frame = statusFrameAt(actor.domain, 0);
      let result = 1;
      let held = false;
      return {
        machine: world.machine,
        op: () => (result = actor.hypercalls.setGrantVersion(1)),
        // What any mapping of the frame begins with, a control domain's for example.
        race: () => (held = getPage(world.machine, frame, actor.id)),
        check: () => {
          expect(result).toBe(held ? -XEN_EBUSY : 0);
          if (held) {
            expect([ownerOf(world.machine, frame), statusFrameAt(actor.domain, 0)]).toEqual([
              actor.id,
              frame,
            ]);
            putPage(world.machine, frame);
            expect(actor.hypercalls.setGrantVersion(1)).toBe(0);
          }
          probe(actor, peer);
        },
      };
    });
  });
});
