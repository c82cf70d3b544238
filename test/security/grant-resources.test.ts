/** Security catalogue, grant tables: a control domain acquires the frames of another's table (memory.h). */
import { freePages } from '@ringside/gnttab-core';
import {
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_EPERM,
  XEN_ESRCH,
  XENMEM_acquire_resource,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEM_resource_grant_table_id_status,
  xenMemAcquireResource,
} from '@ringside/gnttab-core/abi';
import { nrGrantFrames, sharedFrameAt, statusFrameAt } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { type Actor, World } from '../grant/world.ts';
import { Door } from './grant-door.ts';
import { NOBODY, probe } from './grant-world.ts';

/** What a call asks for; by default the target's first shared frame. */
interface Request {
  readonly domid: number;
  readonly type: number;
  readonly id: number;
  readonly nr_frames: number;
  readonly pad: number;
  readonly frame_lo: number;
  readonly frame_hi: number;
  readonly frame_list_lo: number;
}

function resources() {
  const world = new World(2048);
  const control = world.domain({ privileged: true });
  const target = world.domain({ maxGrantFrames: 64 });
  const other = world.domain();
  const ask = (change: Partial<Request> = {}, caller = control) => {
    const door = new Door(caller);
    const op = door.element(xenMemAcquireResource.x86_64, 0);
    const request: Request = {
      domid: target.id,
      type: XENMEM_resource_grant_table,
      id: XENMEM_resource_grant_table_id_shared,
      nr_frames: 1,
      pad: 0,
      frame_lo: 0,
      frame_hi: 0,
      frame_list_lo: door.va(1),
      ...change,
    };
    Object.assign(op, request, { frame_list_hi: 0 });
    caller.bytes(caller.mfn(1)).fill(0xa5);
    const result = door.memoryOp(XENMEM_acquire_resource, 0);
    return { result, nrFrames: op.nr_frames, frames: list(caller) };
  };
  return { world, machine: world.machine, control, target, other, ask };
}

/** The frame list at a caller's page 1, up to what nobody has written. */
function list(caller: Actor): number[] {
  const words = new BigUint64Array(Uint8Array.from(caller.bytes(caller.mfn(1))).buffer);
  const end = words.indexOf(0xa5a5_a5a5_a5a5_a5a5n);
  return Array.from(words.subarray(0, end), Number);
}

const status = { id: XENMEM_resource_grant_table_id_status };
/** Every way to be refused. */
const refusals: [string, Partial<Request>, number][] = [
  ['the frame 2^32', { frame_hi: 1 }, -XEN_EINVAL],
  ['the frame 2^64 - 1', { frame_lo: 0xffff_ffff, frame_hi: 0xffff_ffff }, -XEN_EINVAL],
  ['frames that pass 2^32', { frame_lo: 0xffff_ffff, nr_frames: 2 }, -XEN_EINVAL],
  ['the first frame over the limit', { frame_lo: 64 }, -XEN_EINVAL],
  ['frames that pass the limit', { frame_lo: 60, nr_frames: 5 }, -XEN_EINVAL],
  ['more frames than can be counted', { nr_frames: 0xffff_ffff }, -XEN_EINVAL],
  ['no list, and a number', { frame_list_lo: 0, nr_frames: 1 }, -XEN_EINVAL],
  ['an unknown id', { id: 3 }, -XEN_EINVAL],
  ['an unknown type', { type: 99 }, -XEN_EINVAL],
  ['a status frame of version 1', status, -XEN_EINVAL],
  ['rubbish in the padding', { pad: 1 }, -XEN_EINVAL],
  ['nobody’s table', { domid: NOBODY }, -XEN_ESRCH],
  ['the own table', { domid: 0 }, -XEN_EPERM],
  ['a list where there is no memory', { frame_list_lo: 0x1000 }, -XEN_EFAULT],
];

describe('acquire_resource', () => {
  it.each(refusals)('GT-48: %s: refused, and no frame is listed', (_, change, error) => {
    const { control, target, other, ask } = resources();
    expect(control.id).toBe(0);
    expect(ask(change)).toMatchObject({ result: error, frames: [] });
    probe(target, other);
  });

  it('GT-48: forty frames come in one call, in order, preempted or not', () => {
    const { machine, target, ask } = resources();
    for (const preempted of [false, true]) {
      machine.preemptCheck = () => preempted;
      const { result, frames } = ask({ nr_frames: 40 });
      expect([result, nrGrantFrames(target.domain)]).toEqual([0, 40]);
      expect(frames).toEqual(Array.from({ length: 40 }, (_, i) => sharedFrameAt(target.domain, i)));
    }
    const tail = ask({ frame_lo: 24, nr_frames: 40 });
    expect([tail.result, tail.frames[39]]).toEqual([0, sharedFrameAt(target.domain, 63)]);
  });

  it('GT-48: no frames are none, and without a list their number is told', () => {
    const { ask } = resources();
    expect(ask({ nr_frames: 0 })).toMatchObject({ result: 0, frames: [] });
    expect(ask({ nr_frames: 0, frame_list_lo: 0 })).toMatchObject({ result: 0, nrFrames: 64 });
    const asked = { ...status, nr_frames: 0, frame_list_lo: 0 };
    expect(ask(asked)).toMatchObject({ result: 0, nrFrames: 8 });
  });

  it('GT-48: status frames come with version 2', () => {
    const { target, ask } = resources();
    expect(target.hypercalls.setGrantVersion(2)).toBe(0);
    const { result, frames } = ask({ ...status, nr_frames: 8 });
    expect(result).toBe(0);
    expect(frames).toEqual(Array.from({ length: 8 }, (_, i) => statusFrameAt(target.domain, i)));
    expect(ask({ ...status, frame_lo: 8 }).result).toBe(-XEN_EINVAL);
  });

  it('GT-22: nor has a table that may not have version 2 any status frame to acquire', () => {
    const { world, target, ask } = resources();
    const old = world.domain({ maxGrantVersion: 1 });
    expect(old.hypercalls.setGrantVersion(2)).toBeLessThan(0);
    expect(ask({ ...status, domid: old.id }).result).toBe(-XEN_EINVAL);
    probe(old, target);
  });

  it('GT-59: a call that failed holds nothing: its target can be destroyed', () => {
    const { world, machine, control, other, ask } = resources();
    ask();
    const free = freePages(machine);
    for (const [, change] of refusals) {
      const target = world.domain({ maxGrantFrames: 64 });
      const domid = change.domid ?? target.id;
      expect(ask({ ...change, domid }).result).toBeLessThan(0);
      // Nor may an ordinary domain ask, or anybody about itself.
      expect(ask({ domid: target.id }, other).result).toBe(-XEN_EPERM);
      expect(ask({ domid: control.id }).result).toBe(-XEN_EPERM);
      probe(target, other);
      target.destroy();
      expect(world.exists(target)).toBe(false);
    }
    probe(control, other);
    // The probe has given the prober its first frame of map track entries.
    expect(free - freePages(machine)).toBeLessThanOrEqual(1);
  });
});
