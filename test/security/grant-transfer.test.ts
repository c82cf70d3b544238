/** Security catalogue, grant tables: frames that change hands. */
import { freePages, ownerOf, PageFault, PV_VA_BASE, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  DOMID_INVALID,
  GNTMAP_device_map,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_permit_access,
  GTF_transfer_committed,
  GTF_transfer_completed,
} from '@ringside/gnttab-core/abi';
import { sharedFrameAt, statusFrameAt } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkFrames, checkPageList, taken } from '../grant/invariants.ts';
import { type Actor, windowOf, World } from '../grant/world.ts';
import { domainOf, permit, probe, REF, ro, rw, versions } from './grant-world.ts';
import { atTheSameTime } from './grant-threads.ts';
import { atEveryStep, watchSteps } from './interleave.ts';

const done = GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed;

/** A giver whose page 3 has no reference but its allocation, a receiver that accepts it, and a third domain. */
function accepting(version: 1 | 2 = 1, receiverPages = { pages: 16, maxPages: 32 }, memory = 1024) {
  const world = new World(memory);
  taken(world.machine);
  const giver = domainOf(world, version);
  const receiver = domainOf(world, version, receiverPages);
  const other = world.domain();
  const mfn = giver.detach(3);
  giver.bytes(mfn).fill(0x77);
  permit(receiver, REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 5 });
  const transfer = (frame = mfn, ref = REF) =>
    giver.transfer({ mfn: frame, domid: receiver.id, ref });
  return { world, machine: world.machine, giver, receiver, other, mfn, transfer };
}

/** The pages of both, and that nothing is lost. */
function settled(actors: Actor[], total: number): void {
  for (const actor of actors) checkPageList(actor);
  expect(actors.reduce((sum, { domain }) => sum + domain.totPages, 0)).toBe(total);
  checkFrames(actors[0]!.machine);
}

describe('two domains that give to each other', () => {
  it('GT-04: at every step of the other', () => {
    const steps = atEveryStep(() => {
      const { machine, giver, receiver, transfer } = accepting(1, undefined, 512);
      const back = receiver.detach(4);
      permit(giver, REF, { flags: GTF_accept_transfer, domid: receiver.id, frame: 0 });
      const statuses: number[] = [];
      let both = false;
      return {
        machine,
        op: () => void (statuses[0] = transfer()),
        race: () => {
          statuses[1] = receiver.transfer({ mfn: back, domid: giver.id, ref: REF });
          both = true;
        },
        check: () => {
          expect(statuses).toEqual(both ? [GNTST_okay, GNTST_okay] : [GNTST_okay]);
          settled([giver, receiver], 32);
          expect(giver.domain.totPages).toBe(both ? 16 : 15);
        },
      };
    });
    expect(steps).toBeGreaterThan(5);
  });

  it('GT-04: from two threads', async () => {
    const world = new World(4096);
    const count = 400;
    const actors = [0, 1].map(() => world.domain({ pages: count + 8, maxPages: 2 * count + 8 }));
    const [a, b] = actors as [Actor, Actor];
    const scratch = world.domain();
    const give = (giver: Actor, receiver: Actor) => {
      const frames = Array.from({ length: count }, (_, n) => giver.detach(8 + n));
      for (let ref = REF; ref < REF + count; ref++) {
        permit(receiver, ref, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
      }
      return { kind: 'transfer', domain: giver.id, receiver: receiver.id, frames } as const;
    };
    const tasks = [give(a, b), give(b, a)];
    const wrong = await atTheSameTime(world.machine, scratch.mfn(9), tasks);
    expect(wrong).toEqual([0, 0]);
    for (const { frames, receiver } of tasks) {
      for (const frame of frames) expect(ownerOf(world.machine, frame)).toBe(receiver);
    }
    for (const actor of actors) {
      checkPageList(actor);
      expect(actor.domain.totPages).toBe(count + 8);
    }
    probe(a, b);
  });
});

describe('a frame that cannot be taken', () => {
  // As recorded, of a PV domain that is a bad page, as is any page that has another reference.
  it('GT-08: stays where it is: a fault of the taking', () => {
    const { machine, giver, receiver, mfn, transfer } = accepting();
    const { native } = machine;
    const cas = native.cas.bind(native);
    native.cas = () => 0;
    const status = transfer();
    native.cas = cas;
    expect(status).toBe(GNTST_bad_page);
    expect([ownerOf(machine, mfn), receiver.flags(REF)]).toEqual([giver.id, GTF_accept_transfer]);
    settled([giver, receiver], 32);
    expect(transfer()).toBe(GNTST_okay);
  });

  it('GT-08: stays where it is: in the physical map of a translated domain', () => {
    const world = new World(1024);
    const giver = world.domain({ type: 'translated' });
    const receiver = world.domain();
    permit(receiver, REF, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    const mfn = giver.mfn(3);
    const status = giver.transfer({ mfn: 3, domid: receiver.id, ref: REF });
    expect(status).toBe(GNTST_general_error);
    expect([ownerOf(world.machine, mfn), giver.mfn(3)]).toEqual([giver.id, mfn]);
    expect(receiver.flags(REF)).toBe(GTF_accept_transfer);
    giver.poke(3 * PAGE_SIZE, 1);
    expect(giver.bytes(mfn)[0]).toBe(1);
  });

  const refused: [string, (scene: ReturnType<typeof accepting>) => number][] = [
    [
      'mapped by a third domain',
      ({ giver, other, mfn }) => {
        permit(giver, 9, { flags: GTF_permit_access, domid: other.id, frame: mfn });
        const hostAddr = windowOf(other.domain);
        const op = other.map({ dom: giver.id, ref: 9, flags: ro, hostAddr });
        expect(op.status).toBe(GNTST_okay);
        return mfn;
      },
    ],
    ['of the own grant table', ({ giver }) => sharedFrameAt(giver.domain, 0)],
    ['of the own status words', ({ giver }) => statusFrameAt(giver.domain, 0)],
    ['with the own shared info', ({ giver }) => giver.domain.sharedInfo],
    ['of another domain', ({ other }) => other.detach(3)],
    ['of the receiver', ({ receiver }) => receiver.detach(3)],
    ['that the giver itself has mapped', ({ giver }) => giver.mfn(4)],
    ['that there is not', () => 0xfff_ffff],
  ];
  it.each(refused)('GT-24: a page %s is not given away', (_, choose) => {
    const scene = accepting(2);
    const { machine, giver, receiver, transfer } = scene;
    const frame = choose(scene);
    const before = [ownerOf(machine, frame), freePages(machine)];
    expect(transfer(frame)).toBe(GNTST_bad_page);
    expect([ownerOf(machine, frame), freePages(machine)]).toEqual(before);
    expect(receiver.flags(REF)).toBe(GTF_accept_transfer);
    settled([giver, receiver], 32);
    probe(giver, receiver);
  });

  it.each(['from', 'to'])(
    'GT-24: a page is not given away in the middle of a copy %s it',
    (direction) => {
      const { machine, giver, other, mfn, transfer } = accepting();
      permit(giver, 9, { flags: GTF_permit_access, domid: other.id, frame: mfn });
      const statuses: number[] = [];
      const sides = [{ ref: 9, domid: giver.id }, { gmfn: other.mfn(0) }] as const;
      const [from, to] = direction === 'from' ? sides : ([sides[1], sides[0]] as const);
      {
        using _watch = watchSteps(machine, (step) => {
          if (step === 'copy') statuses.push(transfer());
        });
        expect(other.copy(from, to, 64)).toBe(GNTST_okay);
      }
      expect(statuses).toEqual([GNTST_bad_page]);
      expect(ownerOf(machine, mfn)).toBe(giver.id);
      expect(transfer()).toBe(GNTST_okay);
    },
  );

  it.each([
    ['for the host', rw, 'pv'],
    ['for the host, reading', ro, 'pv'],
    ['for a device', GNTMAP_device_map, 'pv'],
    ['at a gfn', rw, 'translated'],
  ] as const)('GT-58: nobody keeps a view of it: mapped by a third domain %s', (_, flags, type) => {
    const { world, machine, giver, receiver, mfn, transfer } = accepting();
    const third = world.domain({ type });
    permit(giver, 9, { flags: GTF_permit_access, domid: third.id, frame: mfn });
    const hostAddr = windowOf(third.domain);
    const { handle, devBusAddr, status } = third.map({ dom: giver.id, ref: 9, flags, hostAddr });
    expect(status).toBe(GNTST_okay);
    expect(transfer()).toBe(GNTST_bad_page);
    expect(ownerOf(machine, mfn)).toBe(giver.id);
    expect(third.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(transfer()).toBe(GNTST_okay);
    expect(() => third.poke(hostAddr, 0x66)).toThrow(PageFault);
    expect(third.map({ dom: giver.id, ref: 9, flags, hostAddr }).status).toBe(GNTST_bad_page);
    expect(receiver.bytes(mfn).every((byte) => byte === 0x77)).toBe(true);
    // It is a page like any other of the receiver's.
    expect(receiver.hypercalls.updateVaMapping(windowOf(receiver.domain), mfn, true)).toBe(0);
  });
});

it.each(versions)(
  'GT-23: a frame that is given has one owner at any time (version %i)',
  (version) => {
    const { machine, giver, receiver, mfn, transfer } = accepting(version);
    const seen: [number, number][] = [];
    {
      using _watch = watchSteps(machine, () =>
        seen.push([receiver.flags(REF), ownerOf(machine, mfn)]),
      );
      expect(transfer()).toBe(GNTST_okay);
    }
    const committed = GTF_accept_transfer | GTF_transfer_committed;
    const story = seen.filter((now, i) => String(now) !== String(seen[i - 1]));
    expect(story).toEqual([
      [GTF_accept_transfer, giver.id],
      [GTF_accept_transfer, DOMID_INVALID],
      [committed, DOMID_INVALID],
      [committed, receiver.id],
      [done, receiver.id],
    ]);
    settled([giver, receiver], 32);
    expect([giver.domain.totPages, receiver.domain.totPages]).toEqual([15, 17]);
    const va = PV_VA_BASE + 3 * PAGE_SIZE;
    expect(() => giver.peek(va)).toThrow(PageFault);
    expect(() => giver.poke(va, 0)).toThrow(PageFault);
    expect(giver.hypercalls.updateVaMapping(va, mfn, false)).toBeLessThan(0);
    expect(transfer()).toBe(GNTST_bad_page);
  },
);

// The catalogue has the donor keep the page. In the genuine code, as recorded, it is lost: it was taken first.
describe('a receiver that may not have it', () => {
  it('GT-57: at its maximum takes nothing, one below it one page', () => {
    const { giver, receiver, transfer, mfn } = accepting(1, { pages: 16, maxPages: 17 });
    permit(receiver, 9, { flags: GTF_accept_transfer, domid: giver.id, frame: 0 });
    expect(transfer(mfn)).toBe(GNTST_okay);
    const next = giver.detach(4);
    expect(transfer(next, 9)).toBe(GNTST_general_error);
    expect([giver.domain.totPages, receiver.domain.totPages]).toEqual([14, 17]);
    expect(ownerOf(giver.machine, next)).toBe(DOMID_INVALID);
    expect(receiver.flags(9)).toBe(GTF_accept_transfer);
    settled([giver, receiver], 31);
    probe(giver, receiver);
  });

  it('GT-57: dying, takes nothing', () => {
    const { giver, receiver, other, transfer } = accepting();
    permit(receiver, 9, { flags: GTF_permit_access, domid: other.id, frame: receiver.mfn(0) });
    other.map({ dom: receiver.id, ref: 9, flags: GNTMAP_device_map });
    receiver.destroy();
    expect(transfer()).toBe(GNTST_general_error);
    expect(receiver.domain.totPages).toBe(1);
    checkPageList(giver);
  });

  it('GT-57: allocating at the same time never has more than its maximum', () => {
    const steps = atEveryStep(() => {
      const { machine, giver, receiver, transfer } = accepting(1, { pages: 16, maxPages: 17 }, 512);
      let status = 1;
      let own = 0;
      return {
        machine,
        op: () => (status = transfer()),
        race: () => (own = receiver.hypercalls.increaseReservation(1).length),
        check: () => {
          const given = status === GNTST_okay ? 1 : 0;
          expect([GNTST_okay, GNTST_general_error]).toContain(status);
          expect([given + own, receiver.domain.totPages]).toEqual([1, 17]);
          settled([giver, receiver], 32);
        },
      };
    });
    expect(steps).toBeGreaterThan(5);
  });
});
