/** XENMEM_acquire_resource (memory.h): the frames of another domain's grant table, for a control domain. */
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  GNTTABOP_set_version,
  gnttabSetVersion,
  type Initializer,
  XEN_EACCES,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_EPERM,
  XEN_ESRCH,
  xenMemAcquireResource,
  XENMEM_acquire_resource,
  XENMEM_resource_grant_table,
  XENMEM_resource_grant_table_id_shared,
  XENMEM_resource_grant_table_id_status,
  XENMEM_resource_ioreq_server,
} from '@ringside/gnttab-core/abi';
import { nrGrantFrames, sharedFrameAt, statusFrameAt } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { BinaryGuest, guests, kinds, NULL, preemptAlways, pvKinds } from './binary-guest.ts';

const shared = XENMEM_resource_grant_table_id_shared;
const status = XENMEM_resource_grant_table_id_status;
type Fields = Initializer<(typeof xenMemAcquireResource)['table']>;

/** Asks for frames of `target`'s shared table; `fields` say what else. */
function acquire(guest: BinaryGuest, target: BinaryGuest, list: number, fields: Fields, start = 0) {
  const arg = guest.struct(xenMemAcquireResource, {
    domid: target.id,
    type: XENMEM_resource_grant_table,
    id: shared,
    nr_frames: 1,
    pad: 0,
    frame: 0n,
    frame_list: BigInt(list),
    ...fields,
  });
  const cmd = XENMEM_acquire_resource | (start << 6);
  const result = guest.hypercall(__HYPERVISOR_memory_op, cmd, arg);
  return { result, nr_frames: guest.at(xenMemAcquireResource, arg).nr_frames };
}

function version2(guest: BinaryGuest): void {
  const va = guest.struct(gnttabSetVersion, { version: 2 });
  guest.hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_set_version, va, 1);
}

describe.each(pvKinds)('%s, %s', (...kind) => {
  function world() {
    const guest = guests(kind, 1)[0]!;
    const control = new BinaryGuest(guest.machine, kind, { privileged: true });
    return { guest, control, list: control.words([7, 7, 7, 7]) };
  }

  it('shared frames: the table grows to have them', () => {
    const { guest, control, list } = world();
    expect(acquire(control, guest, list, { nr_frames: 2, frame: 1n }).result).toBe(0);
    expect(nrGrantFrames(guest.domain)).toBe(3);
    const frames = [1, 2].map((i) => sharedFrameAt(guest.domain, i));
    expect(control.wordsAt(list, 3)).toEqual([...frames, 7]);
  });

  it('status frames, with version 2 only', () => {
    const { guest, control, list } = world();
    expect(acquire(control, guest, list, { id: status }).result).toBe(-XEN_EINVAL);
    version2(guest);
    expect(acquire(control, guest, list, { id: status, nr_frames: 2 }).result).toBe(0);
    expect(control.wordsAt(list, 2)).toEqual([0, 1].map((i) => statusFrameAt(guest.domain, i)));
  });

  it.each([
    ['shared', shared, 64],
    ['status', status, 8],
  ])('without a list, how many %s frames there can be', (_, id, nr_frames) => {
    const { guest, control } = world();
    expect(acquire(control, guest, NULL, { id, nr_frames: 0 })).toEqual({ result: 0, nr_frames });
    expect(acquire(control, guest, NULL, { id, nr_frames: 1 }).result).toBe(-XEN_EINVAL);
  });

  it.each<[string, number, Fields]>([
    ['no frames', 0, { nr_frames: 0 }],
    ['a frame over the limit', -XEN_EINVAL, { frame: 64n }],
    ['frames beyond the limit', -XEN_EINVAL, { nr_frames: 65 }],
    ['frames beyond all numbers', -XEN_EINVAL, { frame: 0xffff_ffffn, nr_frames: 1 }],
    ['a frame of more than 32 bits', -XEN_EINVAL, { frame: 1n << 63n }],
    ['another kind of grant table frames', -XEN_EINVAL, { id: 2 }],
    ['another kind of resource', -XEN_EINVAL, { type: XENMEM_resource_ioreq_server }],
    ['padding that says something', -XEN_EINVAL, { pad: 1 }],
    ['a domain that does not exist', -XEN_ESRCH, { domid: 99 }],
  ])('%s: %i', (_, result, fields) => {
    const { guest, control, list } = world();
    expect(acquire(control, guest, list, fields).result).toBe(result);
    expect(nrGrantFrames(guest.domain)).toBe(1);
    expect(control.wordsAt(list, 4)).toEqual([7, 7, 7, 7]);
  });

  it('is for control domains, and not for themselves', () => {
    const { guest, control, list } = world();
    expect(acquire(control, control, list, {}).result).toBe(-XEN_EPERM);
    expect(acquire(guest, control, guest.words([0]), {}).result).toBe(-XEN_EPERM);
  });

  it('a list that is not there is -EFAULT', () => {
    const { guest, control } = world();
    expect(acquire(control, guest, control.window(1), {}).result).toBe(-XEN_EFAULT);
  });

  it('goes on where it paused', () => {
    const { guest, control } = world();
    const times = preemptAlways(guest.machine);
    const list = control.words(Array<number>(64).fill(0));
    expect(acquire(control, guest, list, { nr_frames: 64 }).result).toBe(0);
    expect(times()).toBe(1);
    const frames = Array.from({ length: 64 }, (_, i) => sharedFrameAt(guest.domain, i));
    expect(control.wordsAt(list, 64)).toEqual(frames);
    expect(acquire(control, guest, list, { nr_frames: 2 }, 3).result).toBe(-XEN_EINVAL);
  });
});

it.each(kinds.filter(([type]) => type === 'translated'))(
  '%s, %s: a translated domain has no use for machine frames',
  (...kind) => {
    const [guest] = guests(kind, 1);
    const control = new BinaryGuest(guest!.machine, kind, { privileged: true });
    expect(acquire(control, guest!, control.words([0]), {}).result).toBe(-XEN_EACCES);
  },
);
