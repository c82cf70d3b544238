/** Whatever a guest does to its memory: its pages are where p2m and m2p say, and none is lost, or another's. */
import { createMachine, GnttabMapGrantRef, Hypercalls } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_memory_op,
  DOMID_SELF,
  GNTMAP_host_map,
  GTF_permit_access,
  XENMAPSPACE_gmfn,
  XENMAPSPACE_grant_table,
  XENMAPSPACE_shared_info,
  XENMEM_add_to_physmap,
  XENMEM_decrease_reservation,
  XENMEM_exchange,
  XENMEM_increase_reservation,
  XENMEM_populate_physmap,
  XENMEM_remove_from_physmap,
  xenAddToPhysmap,
  xenMemoryExchange,
  xenMemoryReservation,
  xenRemoveFromPhysmap,
} from '@ringside/gnttab-core/abi';
import { limitDomainHeap } from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { checkFrames, checkPageList, checkPhysmap, taken } from '../grant/invariants.ts';
import { BinaryGuest, type Kind, kinds } from './binary-guest.ts';

const RUNS = 400;
const PAGES = 16;
const GFNS_END = 2 ** 20;

/** Pages that arguments are not in, whatever the extent; places behind the guest's pages; and where no page can be. */
const gfn = fc.oneof(
  { weight: 8, arbitrary: fc.nat(4) },
  { weight: 4, arbitrary: fc.integer({ min: PAGES, max: 24 }) },
  { weight: 1, arbitrary: fc.constantFrom(1022, 1023, GFNS_END - 2, GFNS_END - 1, GFNS_END) },
);
const gfns = fc.array(gfn, { minLength: 4, maxLength: 4 });
const order = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(2));

const reservation = fc.record({
  cmd: fc.constantFrom(
    XENMEM_increase_reservation,
    XENMEM_decrease_reservation,
    XENMEM_populate_physmap,
  ),
  list: gfns,
  count: fc.integer({ min: 1, max: 4 }),
  order,
});
const exchange = fc.record({ from: gfns, to: gfns, orderIn: order, orderOut: order });
const addition = fc.record({
  space: fc.constantFrom(XENMAPSPACE_gmfn, XENMAPSPACE_grant_table, XENMAPSPACE_shared_info),
  index: gfn,
  gfn,
});
const mapping = fc.record({ granter: fc.constantFrom('itself', 'another'), gfn });

const step = fc.oneof(
  fc.record({ reservation }),
  fc.record({ exchange }),
  fc.record({ addition }),
  fc.record({ removal: gfn }),
  fc.record({ mapping }),
  fc.record({ memoryLeft: fc.constantFrom(-1, 0, 1) }),
);
type Of<T> = T extends fc.Arbitrary<infer Value> ? Value : never;

class Scene {
  readonly guest: BinaryGuest;
  readonly granter: BinaryGuest;

  constructor(kind: Kind) {
    const machine = createMachine({ memoryPages: 512, seed: 1 });
    taken(machine);
    this.granter = new BinaryGuest(machine, kind);
    this.guest = new BinaryGuest(machine, kind);
    for (const owner of [this.granter, this.guest]) {
      owner.entry(REF, GTF_permit_access, this.guest.id, owner.gmfn(3));
    }
  }

  run(does: Of<typeof step>): void {
    if ('reservation' in does) this.#reserve(does.reservation);
    else if ('exchange' in does) this.#exchange(does.exchange);
    else if ('addition' in does) this.#add(does.addition);
    else if ('removal' in does) {
      const fields = { domid: DOMID_SELF, gpfn: BigInt(does.removal) };
      this.#memoryOp(XENMEM_remove_from_physmap, this.guest.struct(xenRemoveFromPhysmap, fields));
    } else if ('mapping' in does) this.#map(does.mapping);
    else limitDomainHeap(this.guest.machine, does.memoryLeft);
  }

  check(): void {
    checkPageList(this.guest);
    checkPhysmap(this.guest.domain);
  }

  #memoryOp(cmd: number, arg: number): void {
    this.guest.hypercall(__HYPERVISOR_memory_op, cmd, arg);
  }

  /** A list of what the guest calls its pages. A PV guest lets go of each first, so that it can be given away. */
  #names(list: readonly number[]): number {
    const { guest } = this;
    if (guest.domain.translated) return guest.words(list);
    return guest.words(list.map((n) => (n < PAGES ? guest.unmapped(n) : guest.mfn(n))));
  }

  #extents(list: number, count: number, extent_order: number) {
    const nr_extents = BigInt(count);
    const extent_start = BigInt(list);
    return { extent_start, nr_extents, extent_order, mem_flags: 0, domid: DOMID_SELF };
  }

  #reserve({ cmd, list, count, order: size }: Of<typeof reservation>): void {
    const at = cmd === XENMEM_populate_physmap ? this.guest.words(list) : this.#names(list);
    const extents = this.#extents(at, count, size);
    this.#memoryOp(cmd, this.guest.struct(xenMemoryReservation, extents));
  }

  #exchange({ from, to, orderIn, orderOut }: Of<typeof exchange>): void {
    const sides = {
      in: this.#extents(this.#names(from), 4 >> orderIn, orderIn),
      out: this.#extents(this.guest.words(to), 4 >> orderOut, orderOut),
    };
    this.#memoryOp(
      XENMEM_exchange,
      this.guest.struct(xenMemoryExchange, { ...sides, nr_exchanged: 0n }),
    );
  }

  #add({ space, index, gfn: to }: Of<typeof addition>): void {
    const fields = { domid: DOMID_SELF, size: 0, space, idx: BigInt(index), gpfn: BigInt(to) };
    this.#memoryOp(XENMEM_add_to_physmap, this.guest.struct(xenAddToPhysmap, fields));
  }

  #map({ granter, gfn: to }: Of<typeof mapping>): void {
    const { guest } = this;
    const dom = granter === 'itself' ? guest.id : this.granter.id;
    const op = { ref: REF, dom, flags: GNTMAP_host_map, hostAddr: guest.page(to) };
    new Hypercalls(guest.domain).gnttabMap([Object.assign(new GnttabMapGrantRef(), op)]);
  }
}
const REF = 8;

describe.each(kinds)('%s, %s', (...kind) => {
  it('pages are where p2m and m2p say, and come back in the end', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
        const scene = new Scene(kind);
        for (const does of steps) {
          if (!scene.guest.domain.crashed) scene.run(does);
          scene.check();
        }
        scene.guest.destroy();
        scene.granter.destroy();
        checkFrames(scene.guest.machine);
      }),
      { numRuns: RUNS / kinds.length },
    );
  });
});
