/** Security catalogue, grant tables: what a domain can use up, and what that costs the others. */
import { freePages, type Machine, seededRandom } from '@ringside/gnttab-core';
import {
  GNTMAP_device_map,
  GNTMAP_readonly,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import {
  GnttabMapGrantRef,
  GnttabUnmapGrantRef,
  mapGrantRef,
  nrGrantFrames,
  sharedFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from '../grant/invariants.ts';
import { type Actor, windowOf, World } from '../grant/world.ts';
import { domainOf, expectQuiet, permit, probe, REF, ro, rw, versions } from './grant-world.ts';
import { atTheSameTime } from './grant-threads.ts';
import { countSteps } from './interleave.ts';

/** A granter whose references from REF on are the mapper's. */
function granting(refs: number, mapperOptions: object, memory = 2048) {
  const world = new World(memory);
  const granter = world.domain();
  const mapper = world.domain(mapperOptions);
  granter.hypercalls.setupTable(Math.ceil((REF + refs) / 512));
  for (let ref = REF; ref < REF + refs; ref++) {
    permit(granter, ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.mfn(0) });
  }
  return { world, machine: world.machine, granter, mapper };
}

const mapOp = (dom: number, ref: number, flags: number, hostAddr = 0) =>
  Object.assign(new GnttabMapGrantRef(), { dom, ref, flags, hostAddr });

describe('handles', () => {
  it('GT-15: of two virtual CPUs are never the same, however they take them from each other', () => {
    const { granter, mapper } = granting(4, { vcpus: 2, maxMaptrackFrames: 1 });
    const live = new Map<number, number>();
    let most = 0;
    const random = seededRandom(1);
    const dice = (sides: number) => random.below(sides);
    for (let round = 0; round < 6000; round++) {
      // Phases that mostly take, and phases that mostly give back.
      if (dice(8) > (round % 1000 < 500 ? 1 : 6)) {
        const op = mapOp(
          granter.id,
          REF + dice(4),
          GNTMAP_device_map | (dice(2) ? GNTMAP_readonly : 0),
        );
        mapGrantRef(mapper.domain, op, dice(2));
        if (op.status === GNTST_okay) {
          expect(live.has(op.handle)).toBe(false);
          live.set(op.handle, op.devBusAddr);
        } else expect([GNTST_no_space, GNTST_general_error]).toContain(op.status);
        most = Math.max(most, live.size);
      } else if (live.size > 0) {
        const [handle, devBusAddr] = [...live][dice(live.size)]!;
        expect(mapper.unmap({ handle, devBusAddr })).toBe(GNTST_okay);
        live.delete(handle);
      }
      if (round % 100 === 0) checkMaptrack(mapper, [...live.keys()]);
    }
    // Each CPU that has ever mapped keeps one back.
    expect(most).toBe(254);
    for (const [handle, devBusAddr] of live) mapper.unmap({ handle, devBusAddr });
    checkMaptrack(mapper, []);
    for (let ref = REF; ref < REF + 4; ref++) expectQuiet(granter, ref);
    probe(granter, mapper);
  });

  it('GT-15: of two virtual CPUs in two threads are never the same', async () => {
    const { machine, granter, mapper } = granting(100, { vcpus: 2, maxMaptrackFrames: 1 });
    const claims = granter.mfn(9) * 4096;
    granter.bytes(granter.mfn(9)).fill(0);
    const task = (vcpu: number) =>
      ({
        kind: 'handles',
        domain: mapper.id,
        granter: granter.id,
        vcpu,
        claims,
        rounds: 300,
      }) as const;
    const wrong = await atTheSameTime(machine, granter.mfn(8), [task(0), task(1)]);
    expect(wrong).toEqual([0, 0]);
    checkMaptrack(mapper, []);
    for (let ref = REF; ref < REF + 100; ref++) expectQuiet(granter, ref);
    probe(granter, mapper);
  });

  it('GT-39: one more than there are has no space, and a place that is given back is one again', () => {
    const { granter, mapper } = granting(2, { maxMaptrackFrames: 1 });
    const map = (n: number) =>
      mapper.map({
        dom: granter.id,
        ref: REF + (n & 1),
        flags: rw,
        hostAddr: windowOf(mapper.domain, n),
      });
    // One entry of each frame's 256 is never given out, as recorded.
    const handles = Array.from({ length: 255 }, (_, n) => {
      const { status, handle } = map(n);
      expect(status).toBe(GNTST_okay);
      return handle;
    });
    const before = [granter.pin(REF), granter.pin(REF + 1)];
    for (let n = 0; n < 3; n++) expect(map(255).status).toBe(GNTST_no_space);
    expect([granter.pin(REF), granter.pin(REF + 1)]).toEqual(before);
    expect(mapper.unmap({ handle: handles[9]!, hostAddr: windowOf(mapper.domain, 9) })).toBe(
      GNTST_okay,
    );
    expect(map(9).status).toBe(GNTST_okay);
    expect(map(255).status).toBe(GNTST_no_space);
  });
});

describe('cost', () => {
  /** Words of machine memory that an operation touches, and steps that others could see. */
  function countWords(machine: Machine, op: () => void): number {
    let words = 0;
    const counted = (array: object) =>
      new Proxy(array, {
        get: (target, key) => {
          if (typeof key === 'string' && /^\d+$/.test(key)) words += 1;
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        },
        set: (target, key, value) => {
          words += 1;
          return Reflect.set(target, key, value, target);
        },
      });
    // The bank has views of its memory, and the machine may have the same at hand.
    const views = [machine, machine.heap].flatMap((holder) =>
      ['u8', 'u16', 'u32', 'i32']
        .filter((name) => Object.hasOwn(holder, name))
        .map((name) => ({ holder, name, array: Reflect.get(holder, name) as object })),
    );
    for (const { holder, name, array } of views) {
      Object.defineProperty(holder, name, { value: counted(array), configurable: true });
    }
    const steps = countSteps(machine, op);
    for (const { holder, name, array } of views)
      Object.defineProperty(holder, name, { value: array });
    return words + steps;
  }

  /** A mapper with so many device mappings, and then one for the host in the first window page. */
  function crowded(live: number) {
    const all = granting(Math.ceil((live + 2) / 128), { maxMaptrackFrames: 256 }, 4096);
    const { granter, mapper } = all;
    for (let n = 0; n < live; n++) {
      const op = mapOp(granter.id, REF + (n >>> 7), GNTMAP_device_map);
      mapGrantRef(mapper.domain, op);
      if (op.status !== GNTST_okay) expect.fail(`mapping ${n}: ${op.status}`);
    }
    return all;
  }

  function costs(live: number) {
    const { machine, granter, mapper } = crowded(live);
    const hostAddr = windowOf(mapper.domain);
    const map = mapOp(granter.id, REF, ro, hostAddr);
    const mapping = countWords(machine, () => mapper.hypercalls.gnttabMap([map]));
    expect(map.status).toBe(GNTST_okay);
    const unmap = Object.assign(new GnttabUnmapGrantRef(), {
      hostAddr,
      handle: map.handle,
      status: 1,
    });
    const unmapping = countWords(machine, () => mapper.hypercalls.gnttabUnmap([unmap]));
    expect(unmap.status).toBe(GNTST_okay);
    return { mapping, unmapping };
  }

  it('GT-29: mapping and unmapping cost the same beside 64 mappings and beside 65,000', () => {
    const few = costs(64);
    const many = costs(65_000);
    expect(few.unmapping).toBeGreaterThan(10);
    expect(many.mapping).toBeLessThanOrEqual(3 * few.mapping);
    expect(many.unmapping).toBeLessThanOrEqual(3 * few.unmapping);
  }, 120_000);

  // A domain's end is not a hypercall, and nothing preempts it here; so each mapping has to cost the same.
  it('GT-29: the end of a domain takes as many steps for each of 65,000 mappings as for each of 64', () => {
    const steps = (live: number) => {
      const { world, granter, mapper } = crowded(live);
      const taken = countSteps(world.machine, () => mapper.destroy());
      expect(world.exists(mapper)).toBe(false);
      expect(granter.extraReferences(0)).toBe(0);
      for (let ref = REF; ref < REF + live / 128; ref++) expectQuiet(granter, ref);
      return taken;
    };
    const none = steps(0);
    const each = (live: number) => (steps(live) - none) / live;
    const few = each(64);
    expect(few).toBeGreaterThan(1);
    expect(each(65_000)).toBeLessThanOrEqual(3 * few);
  }, 120_000);
});

it.each(versions)(
  'GT-49: a table grows to its own limit, and to nobody else’s (version %i)',
  (version) => {
    const world = new World(2048);
    const [greedy, other] = [
      domainOf(world, version, { maxGrantFrames: 20 }),
      domainOf(world, version, { maxGrantFrames: 24 }),
    ] as [Actor, Actor];
    const frames = (actor: Actor) =>
      Array.from({ length: nrGrantFrames(actor.domain) }, (_, i) => sharedFrameAt(actor.domain, i));
    expect(greedy.hypercalls.setupTable(3).status).toBe(GNTST_okay);
    const before = frames(greedy);
    const entry = { flags: GTF_permit_access, domid: other.id, frame: greedy.mfn(0) };
    permit(greedy, REF, entry);
    for (const nrFrames of [21, 1024, 0xffff_ffff]) {
      const free = freePages(world.machine);
      const op = greedy.hypercalls.setupTable(nrFrames);
      expect(op).toMatchObject({ status: GNTST_general_error, frames: [] });
      expect([frames(greedy), freePages(world.machine)]).toEqual([before, free]);
    }
    expect(greedy.hypercalls.setupTable(20).frames.slice(0, 3)).toEqual(before);
    expect(greedy.hypercalls.setupTable(21).status).toBe(GNTST_general_error);
    expect(other.hypercalls.setupTable(24)).toMatchObject({ status: GNTST_okay });
    expect(nrGrantFrames(other.domain)).toBe(24);
    const op = other.map({ dom: greedy.id, ref: REF, flags: rw, hostAddr: windowOf(other.domain) });
    expect(op.status).toBe(GNTST_okay);
    probe(greedy, other);
    probe(other, greedy);
  },
);
