/** Mappings of other domains' frames: grants go in, addresses come out. Source: grant_table.h, GNTTABOP_map_grant_ref. */
import { GNTMAP_host_map, GNTMAP_readonly, GNTST_okay } from '../abi/grant-table.ts';
import { GnttabMapGrantRef, GnttabUnmapGrantRef } from '../grant/index.ts';
import { InvariantError } from '../machine/errors.ts';
import { type DomId, type GrantRef, PAGE_SIZE } from '../machine/page.ts';
import type { Hypercalls } from '../hypercall/hypercalls.ts';
import { GrantError } from './errors.ts';
import type { GuestMemory } from './memory.ts';

/** Frames of another domain, mapped side by side. */
export interface ForeignMapping extends Disposable {
  /** Address of the first page; the others follow. */
  readonly va: number;
  readonly pages: number;
  /** Takes the mapping away; later uses of its addresses fault. A second call does nothing. */
  unmap(): void;
}

export class ForeignMappings {
  readonly #memory: GuestMemory;
  readonly #hypercalls: Hypercalls;
  #live = 0;

  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    this.#memory = memory;
    this.#hypercalls = hypercalls;
  }

  /** Pages mapped at the moment. */
  get live(): number {
    return this.#live;
  }

  /**
   * Maps grants of `domid` at consecutive addresses, all or none. Throws GrantError with the first failing status.
   */
  map(
    domid: DomId,
    refs: GrantRef | readonly GrantRef[],
    { readonly = false }: { readonly?: boolean } = {},
  ): ForeignMapping {
    const list = typeof refs === 'number' ? [refs] : refs;
    const va = this.#memory.mappingWindow(list.length);
    const ops = list.map((ref, i) => {
      const op = new GnttabMapGrantRef();
      op.hostAddr = va + i * PAGE_SIZE;
      op.flags = readonly ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map;
      op.ref = ref;
      op.dom = domid;
      return op;
    });
    this.#hypercalls.gnttabMap(ops);
    const failed = ops.find(({ status }) => status !== GNTST_okay);
    const mapped = ops.filter(({ status }) => status === GNTST_okay);
    this.#live += mapped.length;
    if (failed !== undefined) {
      this.#unmap(mapped);
      this.#memory.windows.free(va, list.length);
      throw new GrantError(`mapping reference ${failed.ref} of domain ${domid}`, failed.status);
    }
    let open = true;
    const unmap = () => {
      if (!open) return;
      open = false;
      this.#unmap(mapped);
      this.#memory.windows.free(va, list.length);
    };
    return { va, pages: list.length, unmap, [Symbol.dispose]: unmap };
  }

  #unmap(mapped: readonly GnttabMapGrantRef[]): void {
    const ops = mapped.map(({ hostAddr, handle }) => {
      const op = new GnttabUnmapGrantRef();
      op.hostAddr = hostAddr;
      op.handle = handle;
      return op;
    });
    this.#hypercalls.gnttabUnmap(ops);
    const failed = ops.find(({ status }) => status !== GNTST_okay);
    if (failed !== undefined) {
      throw new InvariantError(
        `handle ${failed.handle} of our own did not unmap: ${failed.status}`,
      );
    }
    this.#live -= mapped.length;
  }
}
