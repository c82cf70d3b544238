/** Security catalogue, grant tables: the life of a pin. What is announced, what is counted, and when it ends. */
import {
  type GnttabUnmapGrantRef,
  PAGE_SIZE,
  PageFault,
  referenceCount,
} from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTST_bad_dev_addr,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_reading,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { nrMaptrackEntries, sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from '../grant/invariants.ts';
import { windowOf, World } from '../grant/world.ts';
import {
  domainOf,
  expectQuiet,
  granted,
  inUse,
  permit,
  probe,
  REF,
  ro,
  rw,
  unused,
  useOf,
  versions,
} from './grant-world.ts';

const both = rw | GNTMAP_device_map;

/** Everything that counts the uses of the granter's page 0. */
function ledger({ world, granter }: ReturnType<typeof granted>) {
  const mfn = granter.mfn(0);
  const references = referenceCount(granter.machine, mfn);
  return { ...granter.pin(REF), use: useOf(granter, REF), references, types: world.typeCount(mfn) };
}

describe('the end of an access is announced when it is over', () => {
  const kinds = versions.flatMap((version) =>
    (['pv', 'translated'] as const).map((type) => ({ version, type })),
  );
  it.each(kinds)(
    'GT-06: with the last mapping of its kind, after the view is gone (version $version, $type mapper)',
    ({ version, type }) => {
      const world = new World(1024);
      const granter = domainOf(world, version);
      const mapper = world.domain({ type });
      permit(granter, REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
      const va = (n: number) => windowOf(mapper.domain, n);
      const map = (flags: number, n: number) => {
        const op = mapper.map({ dom: granter.id, ref: REF, flags, hostAddr: va(n) });
        expect(op.status).toBe(GNTST_okay);
        return op.handle;
      };
      /** Unmaps, and says which bits were cleared while which views could still be written. */
      const unmap = (handle: number, n: number) => {
        const { native } = world.machine;
        const and16 = native.and16.bind(native);
        const announced: { cleared: number; writable: boolean[] }[] = [];
        native.and16 = (at, mask) => {
          announced.push({ cleared: ~mask & inUse, writable: [0, 1].map(canWrite) });
          and16(at, mask);
        };
        expect(mapper.unmap({ handle, hostAddr: va(n) })).toBe(GNTST_okay);
        native.and16 = and16;
        return announced;
      };
      const canWrite = (n: number) => {
        try {
          mapper.poke(va(n), 0x66);
          return true;
        } catch (error) {
          expect(error).toBeInstanceOf(PageFault);
          return false;
        }
      };

      let handles = [map(rw, 0), map(rw, 1)];
      expect(unmap(handles[0]!, 0)).toEqual([]);
      expect(useOf(granter, REF)).toBe(inUse);
      expect(unmap(handles[1]!, 1)).toEqual([{ cleared: inUse, writable: [false, false] }]);
      expect(useOf(granter, REF)).toBe(0);

      handles = [map(rw, 0), map(ro, 1)];
      expect(unmap(handles[0]!, 0)).toEqual([{ cleared: GTF_writing, writable: [false, false] }]);
      expect(useOf(granter, REF)).toBe(GTF_reading);
      expect(unmap(handles[1]!, 1)).toEqual([{ cleared: GTF_reading, writable: [false, false] }]);
      expectQuiet(granter, REF);
    },
  );

  it.each(versions)(
    'GT-16: a copy leaves the bits that a mapping holds (version %i)',
    (version) => {
      const scene = granted(version);
      const { granter, mapper, map, remote, local } = scene;
      for (const flags of [both, GNTMAP_device_map]) {
        const { handle, devBusAddr } = map(flags);
        const before = ledger(scene);
        expect(mapper.copy(remote, local, 8)).toBe(GNTST_okay);
        expect(ledger(scene)).toEqual(before);
        expect(mapper.copy(local, remote, 8)).toBe(GNTST_okay);
        expect(ledger(scene)).toEqual(before);
        expect(before.use).toBe(inUse);
        const hostAddr = windowOf(mapper.domain);
        expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
        expectQuiet(granter, REF);
      }
    },
  );
});

describe('handles', () => {
  it.each(versions)('GT-07: a handle is given out again only once (version %i)', (version) => {
    const { granter, mapper, entry, map, unmap } = granted(version);
    permit(granter, 9, { ...entry, frame: granter.mfn(1) });
    const { handle, devBusAddr } = map(both);
    const hostAddr = windowOf(mapper.domain);
    const batch = (halves: Partial<GnttabUnmapGrantRef>[]) => {
      const ops = halves.map((half) => ({
        handle,
        hostAddr: 0,
        devBusAddr: 0,
        status: 1,
        ...half,
      }));
      mapper.hypercalls.gnttabUnmap(ops);
      return ops.map(({ status }) => status);
    };
    const twice = [{ hostAddr }, { devBusAddr }, { hostAddr }, { devBusAddr }];
    const gone = [GNTST_bad_handle, GNTST_bad_handle];
    expect(batch(twice)).toEqual([GNTST_okay, GNTST_okay, ...gone]);
    checkMaptrack(mapper, []);
    expectQuiet(granter, REF);

    const [first, second] = [map(rw, 0, REF).handle, map(rw, 1, 9).handle];
    expect(first).not.toBe(second);
    checkMaptrack(mapper, [first, second]);
    const again = { handle: first, hostAddr };
    expect(batch([again, again])).toEqual([GNTST_okay, GNTST_bad_handle]);
    expect(unmap(second, 1)).toBe(GNTST_okay);
    expect(unmap(second, 1)).toBe(GNTST_bad_handle);
    checkMaptrack(mapper, []);
    expect(nrMaptrackEntries(mapper.domain)).toBe(256);
  });
});

describe('the halves of a mapping', () => {
  it.each(versions)(
    'GT-09: host and device are counted apart, and exactly (version %i)',
    (version) => {
      const scene = granted(version);
      const { mapper, entry, map } = scene;
      const before = ledger(scene);
      const { handle, devBusAddr } = map(both);
      expect(devBusAddr).toBe(entry.frame * PAGE_SIZE);
      const { references, types } = before;
      const mapped = { hstw: 1, devw: 1, use: inUse, references: references + 2, types: types + 2 };
      expect(ledger(scene)).toEqual({ ...before, ...mapped });
      expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain) })).toBe(GNTST_okay);
      const half = { hstw: 0, devw: 1, use: inUse, references: references + 1, types: types + 1 };
      expect(ledger(scene)).toEqual({ ...before, ...half });
      expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
      expect(ledger(scene)).toEqual(before);
      expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_bad_handle);
      expect(ledger(scene)).toEqual(before);
    },
  );

  it('GT-10: no address is no unmap, and a wrong bus address is none of the handle’s', () => {
    const scene = granted();
    const { granter, mapper, map } = scene;
    const { handle, devBusAddr } = map(both);
    const mapped = ledger(scene);
    for (let n = 0; n < 100; n++) {
      expect(mapper.unmap({ handle, hostAddr: 0, devBusAddr: 0 })).toBe(GNTST_okay);
    }
    const wrong = [devBusAddr + 1, devBusAddr + 0xfff, 1, granter.mfn(1) * PAGE_SIZE, 2 ** 52];
    for (const address of wrong) {
      expect(mapper.unmap({ handle, devBusAddr: address })).toBe(GNTST_bad_dev_addr);
      const hostAddr = windowOf(mapper.domain);
      expect(mapper.unmap({ handle, hostAddr, devBusAddr: address })).toBe(GNTST_bad_dev_addr);
    }
    expect(ledger(scene)).toEqual(mapped);
    expect(mapper.pte()?.frame).toBe(granter.mfn(0));
    probe(granter, mapper);
  });

  it('GT-10: a mapping for devices alone makes no host view', () => {
    const { mapper, map } = granted();
    expect(map(GNTMAP_device_map).status).toBe(GNTST_okay);
    expect(mapper.pte()).toBeUndefined();
    expect(() => mapper.peek(windowOf(mapper.domain))).toThrow(PageFault);
  });

  it.each([
    ['host', (hostAddr: number) => ({ hostAddr }), { hstw: 0, devw: 1 }],
    ['device', (_: number, devBusAddr: number) => ({ devBusAddr }), { hstw: 1, devw: 0 }],
  ])('GT-31: repeating a partial unmap (%s) counts once', (_, half, left) => {
    const scene = granted();
    const { mapper, map } = scene;
    const before = ledger(scene);
    const { handle, devBusAddr } = map(both);
    const hostAddr = windowOf(mapper.domain);
    for (let n = 0; n < 10; n++) {
      expect(mapper.unmap({ handle })).toBe(GNTST_okay);
      expect(mapper.unmap({ handle, ...half(hostAddr, devBusAddr) })).toBe(GNTST_okay);
      expect(ledger(scene)).toMatchObject({ ...left, references: before.references + 1 });
      checkMaptrack(mapper, [handle]);
    }
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_okay);
    expect(mapper.unmap({ handle, hostAddr, devBusAddr })).toBe(GNTST_bad_handle);
    expect(ledger(scene)).toEqual(before);
    checkMaptrack(mapper, []);
  });
});

describe('counters', () => {
  it.each([
    ['host, writing', rw, 'hstw', ro],
    ['host, reading', ro, 'hstr', rw],
  ] as const)('GT-38: 128 pins of a kind and no more: %s', (_, flags, counter, others) => {
    const { granter, map, unmap } = granted();
    const handles = Array.from({ length: 128 }, (_unused, n) => {
      const op = map(flags, n);
      expect(op.status).toBe(GNTST_okay);
      return op.handle;
    });
    expect(map(flags, 128).status).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual({ ...unused, [counter]: 128 });
    expect(map(others, 129).status).toBe(GNTST_okay);
    expect(map(flags, 128).status).toBe(GNTST_general_error);
    expect(unmap(handles[0]!, 0)).toBe(GNTST_okay);
    expect(map(flags, 0).status).toBe(GNTST_okay);
    expect(map(flags, 128).status).toBe(GNTST_general_error);
  });
});

it.each(versions)(
  'GT-18: a handle and an address of different mappings are no pair (version %i)',
  (version) => {
    const { granter, mapper, entry, map } = granted(version);
    permit(granter, 9, { ...entry, frame: granter.mfn(1) });
    permit(granter, 10, entry);
    // Two frames, and one of them in both modes.
    const mapped = [map(rw, 0, REF), map(ro, 1, 9), map(ro, 2, 10)];
    const views = () => [0, 1, 2].map((n) => mapper.pte(n));
    const pins = () => [REF, 9, 10].map((ref) => granter.pin(ref));
    const before = [views(), pins()];
    const pairs = [0, 1, 2].flatMap((a) => [0, 1, 2].map((b) => [a, b] as const));
    for (const [a, b] of pairs.filter(([one, another]) => one !== another)) {
      const { handle } = mapped[a]!;
      const hostAddr = windowOf(mapper.domain, b);
      expect([a, b, mapper.unmap({ handle, hostAddr })]).toEqual([a, b, GNTST_general_error]);
      const replace = { handle, hostAddr, newAddr: 0, status: 0 };
      mapper.hypercalls.gnttabUnmapAndReplace([replace]);
      expect([a, b, replace.status]).toEqual([a, b, GNTST_general_error]);
      expect([views(), pins()]).toEqual(before);
    }
    mapped.forEach(({ handle }, n) => {
      expect(mapper.unmap({ handle, hostAddr: windowOf(mapper.domain, n) })).toBe(GNTST_okay);
    });
  },
);

it('GT-42: only the in-use bits of a granter’s entry ever change', () => {
  const world = new World(1024);
  const granter = world.domain();
  const mapper = world.domain({ domid: 0x1234 });
  const at = sharedEntryOf(granter.domain, REF);
  const bytes = () => Array.from(world.machine.heap.u8.subarray(at - 8, at + 16));
  // Bits that mean nothing here, to be left alone as well.
  permit(granter, REF, { flags: GTF_permit_access | 0xe0, domid: 0x1234, frame: granter.mfn(0) });
  const before = bytes();
  const hostAddr = windowOf(mapper.domain);
  for (let n = 0; n < 1000; n++) {
    const flags = n % 2 ? rw : ro;
    const { handle, status } = mapper.map({ dom: granter.id, ref: REF, flags, hostAddr });
    expect(status).toBe(GNTST_okay);
    const mapped = bytes();
    mapped[8]! &= ~inUse;
    expect(mapped).toEqual(before);
    expect(mapper.unmap({ handle, hostAddr })).toBe(GNTST_okay);
    expect(bytes()).toEqual(before);
  }
});
