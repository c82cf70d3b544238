/** Security catalogue, grant tables: GNTTABOP_cache_flush, which x86 has up to Xen 4.20, and here. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTTAB_CACHE_CLEAN,
  gnttabCacheFlush,
  GNTTABOP_cache_flush,
  XEN_EILSEQ,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import { expect, it } from 'vitest';
import type { Actor } from '../grant/world.ts';
import { Door } from './grant-door.ts';
import { granted, probe } from './grant-world.ts';

/** One element at the mapper's page 0, for a frame; and the call. */
function flushing(frame: number, mapper: Actor) {
  const door = new Door(mapper);
  const op = door.element(gnttabCacheFlush.x86_64, 0);
  op.a.dev_bus_addr_lo = frame * PAGE_SIZE;
  op.a.dev_bus_addr_hi = 0;
  Object.assign(op, { offset: 0, length: 8 });
  op.op = GNTTAB_CACHE_CLEAN;
  return {
    op,
    flush: (cmd = GNTTABOP_cache_flush, count = 1) => door.grantTableOp(cmd, 0, count),
  };
}

it('GT-54: an empty batch is fine, and a count beyond what is one is not', () => {
  const { mapper } = granted();
  const { flush } = flushing(mapper.mfn(0), mapper);
  expect(flush(GNTTABOP_cache_flush, 0)).toBe(0);
  expect(flush()).toBe(0);
  expect(flush(GNTTABOP_cache_flush, 0x8000_0000)).toBe(-XEN_EINVAL);
});

it('GT-54: a search that is preempted at every turn goes on from there, and ends', () => {
  const { machine, granter, mapper, entry } = granted();
  granter.hypercalls.setupTable(64);
  const { op, flush } = flushing(entry.frame, mapper);
  let looks = 0;
  machine.preemptCheck = () => {
    looks += 1;
    return true;
  };
  expect(flush()).toBe(-XEN_EINVAL);
  // 32,768 references in pieces of 4096.
  expect(looks).toBe(7);
  // Where there is nothing to do, no search can have been left half done.
  op.length = 0;
  expect(flush()).toBe(0);
  expect(flush(GNTTABOP_cache_flush | 0x1000)).toBe(-XEN_EILSEQ);
  machine.preemptCheck = () => false;
  probe(granter, mapper);
});
