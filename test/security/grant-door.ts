/** Hypercalls as a hostile guest makes them: through the binary door, with arguments in its own pages. */
import { type DoorOptions, HypercallDoor, PAGE_SIZE, PV_VA_BASE } from '@ringside/gnttab-core';
import { __HYPERVISOR_grant_table_op, __HYPERVISOR_memory_op } from '@ringside/gnttab-core/abi';
import type { Actor } from '../grant/world.ts';

interface Cursors<F> {
  readonly size: number;
  cursor(): { at(view: DataView, offset: number): F };
}

export class Door {
  readonly #actor: Actor;
  readonly #door: HypercallDoor;

  constructor(actor: Actor, options?: DoorOptions) {
    this.#actor = actor;
    this.#door = new HypercallDoor(actor.domain, options);
  }

  /** Address of the actor's page `gfn`. */
  va(gfn: number): number {
    return PV_VA_BASE + gfn * PAGE_SIZE;
  }

  /** The element of an array of structs that begins at page `gfn`, which holds it whole. */
  element<F>(struct: Cursors<F>, gfn: number, index = 0): F {
    const at = this.#actor.mfn(gfn) * PAGE_SIZE + index * struct.size;
    return struct.cursor().at(this.#actor.machine.heap.view, at);
  }

  /** grant_table_op, with its array at the beginning of page `gfn`. */
  grantTableOp(op: number, gfn: number, count: number): number {
    return this.#door.hypercall(__HYPERVISOR_grant_table_op, op, this.va(gfn), count);
  }

  /** memory_op, with its struct at the beginning of page `gfn`. */
  memoryOp(op: number, gfn: number): number {
    return this.#door.hypercall(__HYPERVISOR_memory_op, op, this.va(gfn));
  }
}
