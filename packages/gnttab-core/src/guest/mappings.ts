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
  /** How many. */
  readonly pages: number;
  /** Takes the mapping away; later uses of its addresses fault. A second call does nothing. */
  unmap(): void;
}

/** As ForeignMapping, of those frames that could be mapped: page `n` is at `va + n * 4096` if its status is GNTST_okay. */
export interface ForeignBatch extends ForeignMapping {
  /** GNTST_* of each reference. */
  readonly statuses: readonly number[];
}

/** How to map: by default for reading and writing. */
export interface MappingOptions {
  /** For reading only: writes through the mapping fault. */
  readonly readonly?: boolean;
}

/** A guest's mappings of what others granted it; each has a window of the guest's address space. */
export class ForeignMappings {
  readonly #memory: GuestMemory;
  readonly #hypercalls: Hypercalls;
  #live = 0;

  /** Begins with none. */
  constructor(memory: GuestMemory, hypercalls: Hypercalls) {
    this.#memory = memory;
    this.#hypercalls = hypercalls;
  }

  /** Pages mapped at the moment. */
  get live(): number {
    return this.#live;
  }

  /**
   * Maps grants of `domid` at consecutive addresses, all or none. Throws GrantError with the first failing status, or
   * GuestMemoryError without room for the window.
   */
  map(
    domid: DomId,
    refs: GrantRef | readonly GrantRef[],
    options?: MappingOptions,
  ): ForeignMapping {
    const list = typeof refs === 'number' ? [refs] : refs;
    const batch = this.mapBatch(domid, list, options);
    const failed = batch.statuses.findIndex((status) => status !== GNTST_okay);
    if (failed < 0) return batch;
    batch.unmap();
    throw new GrantError(
      `mapping reference ${list[failed]} of domain ${domid}`,
      batch.statuses[failed]!,
    );
  }

  /**
   * Maps grants of `domid`, each for itself: one that fails leaves a hole and harms no other. Throws GuestMemoryError
   * without room for the window.
   */
  mapBatch(
    domid: DomId,
    refs: readonly GrantRef[],
    { readonly = false }: MappingOptions = {},
  ): ForeignBatch {
    const va = this.#memory.mappingWindow(refs.length);
    const ops = refs.map((ref, i) => {
      const op = new GnttabMapGrantRef();
      op.hostAddr = va + i * PAGE_SIZE;
      op.flags = readonly ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map;
      op.ref = ref;
      op.dom = domid;
      return op;
    });
    this.#hypercalls.gnttabMap(ops);
    const mapped = ops.filter(({ status }) => status === GNTST_okay);
    this.#live += mapped.length;
    let open = true;
    const unmap = () => {
      if (!open) return;
      open = false;
      this.#unmap(mapped);
      this.#memory.windows.free(va, refs.length);
    };
    return {
      va,
      pages: refs.length,
      statuses: ops.map(({ status }) => status),
      unmap,
      [Symbol.dispose]: unmap,
    };
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
