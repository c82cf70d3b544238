/** Security catalogue, grant tables: batches through the binary door, with failures, preemption and odd counts. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  type Abi,
  DOMID_SELF,
  GNTCOPY_source_gref,
  GNTMAP_device_map,
  GNTST_bad_copy_arg,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_okay,
  gnttabCopy,
  gnttabGetStatusFrames,
  gnttabMapGrantRef,
  GNTTABOP_copy,
  GNTTABOP_get_status_frames,
  GNTTABOP_map_grant_ref,
  GNTTABOP_swap_grant_ref,
  GNTTABOP_transfer,
  GNTTABOP_unmap_and_replace,
  GNTTABOP_unmap_grant_ref,
  gnttabSwapGrantRef,
  gnttabTransfer,
  gnttabUnmapAndReplace,
  gnttabUnmapGrantRef,
  XEN_EFAULT,
  XEN_EINVAL,
} from '@ringside/gnttab-core/abi';
import { nrStatusFrames, statusFrameAt } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from '../grant/invariants.ts';
import { windowOf } from '../grant/world.ts';
import { Door } from './grant-door.ts';
import { expectQuiet, granted, NOBODY, permit, probe, REF, rw } from './grant-world.ts';

const STALE = 0x7f7f;

/** The operations that take an array, with an element that fails whatever the caller has. */
const failing = (abi: Abi) =>
  [
    [
      'map',
      GNTTABOP_map_grant_ref,
      gnttabMapGrantRef[abi],
      { dom: NOBODY, flags: rw },
      GNTST_bad_domain,
    ],
    ['unmap', GNTTABOP_unmap_grant_ref, gnttabUnmapGrantRef[abi], { handle: 7 }, GNTST_bad_handle],
    [
      'replace',
      GNTTABOP_unmap_and_replace,
      gnttabUnmapAndReplace[abi],
      { handle: 7 },
      GNTST_bad_handle,
    ],
    [
      'transfer',
      GNTTABOP_transfer,
      gnttabTransfer[abi],
      { mfn_lo: 1, domid: NOBODY },
      GNTST_bad_page,
    ],
    [
      'copy',
      GNTTABOP_copy,
      gnttabCopy[abi],
      { flags: GNTCOPY_source_gref, len: 8, source: { domid: NOBODY } },
      GNTST_bad_domain,
    ],
    ['swap', GNTTABOP_swap_grant_ref, gnttabSwapGrantRef[abi], { ref_a: 512 }, GNTST_bad_gntref],
  ] as const;

/** Writes named members, and those of members. */
function fill(target: object, values: object): void {
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === 'object' && value !== null) {
      fill(Reflect.get(target, name) as object, value);
    } else Reflect.set(target, name, value);
  }
}

describe.each(['x86_64', 'i386'] as const)('a batch in which everything fails (%s)', (abi) => {
  it.each(failing(abi))(
    'GT-02: is done step by step, and ends: %s',
    (_, op, struct, values, status) => {
      const { machine, granter, mapper } = granted();
      const door = new Door(mapper, { abi });
      const most = Math.floor(PAGE_SIZE / struct.size);
      const element = (i: number): { status: number } =>
        door.element<{ status: number }>(struct, 0, i);
      for (const count of [0, 1, 2, most]) {
        for (let i = 0; i < most; i++) fill(element(i), { ...values, status: STALE });
        let looks = 0;
        machine.preemptCheck = () => {
          looks += 1;
          return true;
        };
        expect(door.grantTableOp(op, 0, count)).toBe(0);
        expect(looks).toBeLessThanOrEqual(count);
        const statuses = Array.from({ length: most }, (_unused, i) => element(i).status);
        expect(statuses).toEqual(statuses.map((_unused, i) => (i < count ? status : STALE)));
      }
      machine.preemptCheck = () => false;
      probe(granter, mapper);
    },
  );

  it.each(failing(abi))(
    'GT-02: of more elements than there is memory ends where that ends: %s',
    (_, op, struct) => {
      const { granter, mapper } = granted();
      const door = new Door(mapper, { abi });
      expect(door.grantTableOp(op, 15, 0x7fff_ffff)).toBe(-XEN_EFAULT);
      expect(door.grantTableOp(op, 15, 0x8000_0000)).toBe(-XEN_EINVAL);
      expect(door.grantTableOp(op, 15, 0xffff_ffff)).toBe(-XEN_EINVAL);
      const first = door.element<{ status: number }>(struct, 15, 0);
      expect(first.status).toBeLessThanOrEqual(0);
      probe(granter, mapper);
    },
  );

  it('GT-02: a list of status frames is filled once, from its first to its last (XSA-24)', () => {
    const { mapper } = granted();
    const door = new Door(mapper, { abi });
    mapper.hypercalls.setGrantVersion(2);
    mapper.hypercalls.setupTable(64);
    const frames = nrStatusFrames(mapper.domain);
    const op = door.element(gnttabGetStatusFrames[abi], 0);
    fill(op, { dom: mapper.id, nr_frames: frames, frame_list_lo: door.va(1), status: STALE });
    const list = () => new BigUint64Array(Uint8Array.from(mapper.bytes(mapper.mfn(1))).buffer);
    mapper.bytes(mapper.mfn(1)).fill(0);
    expect(door.grantTableOp(GNTTABOP_get_status_frames, 0, 1)).toBe(0);
    expect([op.status, frames]).toEqual([GNTST_okay, 8]);
    const expected = Array.from({ length: frames }, (_, i) => statusFrameAt(mapper.domain, i));
    expect(Array.from(list(), Number).slice(0, 9)).toEqual([...expected, 0]);
    for (const count of [0, 2, 0x7fff_ffff]) {
      expect(door.grantTableOp(GNTTABOP_get_status_frames, 0, count)).toBe(-XEN_EINVAL);
    }
  });
});

it('GT-11: an unmap that fails changes nothing, and the next is done', () => {
  const { granter, mapper, entry, map } = granted();
  permit(granter, 9, { ...entry, frame: granter.mfn(1) });
  const first = map(rw | GNTMAP_device_map, 0, REF);
  const second = map(rw, 1, 9);
  const right = windowOf(mapper.domain);
  const wrong = [
    { hostAddr: windowOf(mapper.domain, 7), devBusAddr: first.devBusAddr },
    { hostAddr: 1, devBusAddr: 0 },
    { hostAddr: right, devBusAddr: second.devBusAddr },
  ];
  const before = [granter.pin(REF), granter.flags(REF), granter.extraReferences(0)];
  for (const op of wrong) {
    const ops = [
      { ...op, handle: first.handle, status: STALE },
      { hostAddr: windowOf(mapper.domain, 1), devBusAddr: 0, handle: second.handle, status: STALE },
    ];
    mapper.hypercalls.gnttabUnmap(ops);
    expect(ops[0]!.status).toBeLessThan(0);
    expect(ops[1]!.status).toBe(GNTST_okay);
    expect([granter.pin(REF), granter.flags(REF), granter.extraReferences(0)]).toEqual(before);
    expect(mapper.pte()?.frame).toBe(entry.frame);
    expectQuiet(granter, 9);
    second.handle = map(rw, 1, 9).handle;
  }
  checkMaptrack(mapper, [first.handle, second.handle]);
});

it('GT-19: after any failure the table still serves: no lock stays taken', () => {
  const { granter, mapper, map } = granted();
  const { handle } = map(rw);
  for (const abi of ['x86_64', 'i386'] as const) {
    const door = new Door(mapper, { abi });
    for (const [, op, struct, values] of failing(abi)) {
      // A failing operation on the granter's own table, and on what it has mapped.
      for (const more of [{}, { dom: granter.id, ref: 0xffff_ffff }, { handle, host_addr_lo: 1 }]) {
        const element = door.element<{ status: number }>(struct, 0);
        fill(element, { ...values, ...more, status: STALE });
        expect(door.grantTableOp(op, 0, 1)).toBe(0);
        expect(element.status).toBeLessThan(0);
        probe(granter, mapper);
      }
    }
  }
});

it.each([
  ['after element 0', [1]],
  ['after element 1', [2]],
  ['after element 31', [32]],
  ['after each of these', [1, 2, 32]],
  ['after every element', Array.from({ length: 63 }, (_, i) => i + 1)],
])('GT-27: a copy batch that is preempted %s does every element once', (_, pauses) => {
  const { machine, granter, mapper } = granted();
  const source = granter.bytes(granter.mfn(0));
  for (let i = 0; i < PAGE_SIZE; i++) source[i] = i * 7;
  const door = new Door(mapper);
  const expected = Array.from({ length: 64 }, (_unused, i) =>
    i % 7 === 3 ? GNTST_bad_copy_arg : i % 7 === 5 ? GNTST_bad_domain : GNTST_okay,
  );
  expected.forEach((status, i) => {
    fill(door.element(gnttabCopy.x86_64, 0, i), {
      source: {
        u: { ref: REF },
        domid: status === GNTST_bad_domain ? NOBODY : granter.id,
        offset: status === GNTST_bad_copy_arg ? 4090 : i * 8,
      },
      dest: { u: { gmfn_lo: mapper.mfn(1), gmfn_hi: 0 }, domid: DOMID_SELF, offset: i * 8 },
      len: 8,
      flags: GNTCOPY_source_gref,
      status: STALE,
    });
  });
  let look = 0;
  machine.preemptCheck = () => pauses.includes((look += 1));
  expect(door.grantTableOp(GNTTABOP_copy, 0, 64)).toBe(0);
  expect(look).toBe(63);
  const statuses = expected.map((_unused, i) => door.element(gnttabCopy.x86_64, 0, i).status);
  expect(statuses).toEqual(expected);
  const arrived = mapper.bytes(mapper.mfn(1));
  expected.forEach((status, i) => {
    const bytes = Uint8Array.from(arrived.subarray(i * 8, i * 8 + 8));
    const right = Uint8Array.from(source.subarray(i * 8, i * 8 + 8));
    expect(bytes).toEqual(status === GNTST_okay ? right : new Uint8Array(8));
  });
  expectQuiet(granter, REF);
  expect(granter.extraReferences(0)).toBe(0);
});

it('GT-52: sixteen maps, two of them bad: fourteen handles and two negative statuses', () => {
  const { granter, mapper } = granted();
  const door = new Door(mapper);
  const element = (i: number) => door.element(gnttabMapGrantRef.x86_64, 0, i);
  const bad = new Map([
    [3, { ref: 512 }],
    [9, { dom: NOBODY }],
  ]);
  for (let i = 0; i < 16; i++) {
    const op = { dom: granter.id, ref: REF, flags: rw, host_addr_lo: windowOf(mapper.domain, i) };
    fill(element(i), { ...op, status: STALE, handle: 0xdead, ...bad.get(i) });
  }
  expect(door.grantTableOp(GNTTABOP_map_grant_ref, 0, 16)).toBe(0);
  const all = Array.from({ length: 16 }, (_, i) => i);
  const statuses = all.map((i) => element(i).status);
  expect(statuses.filter((status) => status < 0)).toEqual([GNTST_bad_gntref, GNTST_bad_domain]);
  expect([statuses[3], statuses[9]]).toEqual([GNTST_bad_gntref, GNTST_bad_domain]);
  const handles = all.filter((i) => !bad.has(i)).map((i) => element(i).handle);
  expect(new Set(handles).size).toBe(14);
  for (const i of bad.keys()) expect(element(i).handle).toBe(0xdead);
  checkMaptrack(mapper, handles);
  expect(granter.pin(REF).hstw).toBe(14);
});
