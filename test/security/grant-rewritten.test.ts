/** Security catalogue, grant tables: a granter that rewrites its entries while they are looked at. */
import { PageFault } from '@ringside/gnttab-core';
import {
  GNTST_bad_page,
  GNTST_eagain,
  GNTST_general_error,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_readonly,
} from '@ringside/gnttab-core/abi';
import { p2m_ram_paged, setP2m, statusWordOf } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { type Actor, beforeExchange, windowOf, World } from '../grant/world.ts';
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
import { countSteps, watchSteps } from './interleave.ts';

const page = (actor: Actor, gfn: number) => Uint8Array.from(actor.bytes(actor.mfn(gfn)));
const filled = (byte: number) => new Uint8Array(4096).fill(byte);

/** Runs `race` where Xen has looked at the entry and has not yet marked it: version 1 marks by exchange, version 2 apart. */
function afterFirstLook(granter: Actor, version: 1 | 2, race: () => void): Disposable {
  if (version === 1) return beforeExchange(granter, REF, race);
  const { native } = granter.machine;
  const or16 = native.or16.bind(native);
  const word = statusWordOf(granter.domain, REF);
  native.or16 = (at, bits) => {
    if (at === word) race();
    or16(at, bits);
  };
  return { [Symbol.dispose]: () => void (native.or16 = or16) };
}

describe('between two looks', () => {
  const uses: [string, (scene: ReturnType<typeof granted>) => number][] = [
    ['mapped', ({ map }) => map(rw).status],
    ['mapped read-only', ({ map }) => map(ro).status],
    ['copied from', ({ mapper, remote, local }) => mapper.copy(remote, local, 8)],
    ['copied to', ({ mapper, remote, local }) => mapper.copy(local, remote, 8)],
  ];
  const flips = versions.flatMap((version) => uses.map(([name, use]) => ({ version, name, use })));
  // The catalogue has FIFO event channels here too; those of this machine have two levels, and no links to set.
  // Version 2 needs no exchange: what it marks is not the granter's word, which it looks at twice.
  it.each(flips)(
    'GT-25: a word that never holds still is not looked at for long: $name (version $version)',
    ({ version, use }) => {
      const scene = granted(version);
      const { machine, granter, mapper } = scene;
      let looks = 0;
      let status = 1;
      let steps = 0;
      {
        using _race = afterFirstLook(granter, version, () => {
          looks += 1;
          granter.setFlags(REF, granter.flags(REF) ^ 0x20);
        });
        steps = countSteps(machine, () => (status = use(scene)));
      }
      expect(status).toBe(version === 1 ? GNTST_general_error : GNTST_okay);
      expect(looks).toBe(version === 1 ? 5 : 1);
      expect(steps).toBeLessThan(30);
      probe(granter, mapper);
    },
  );

  it.each(versions)('GT-25: nor does it keep an unmap waiting (version %i)', (version) => {
    const { machine, granter, map, unmap } = granted(version);
    const { handle } = map(rw);
    let steps = 0;
    {
      using _watch = watchSteps(machine, () => {
        steps += 1;
        granter.setFlags(REF, granter.flags(REF) ^ 0x20);
      });
      expect(unmap(handle)).toBe(GNTST_okay);
    }
    expect(steps).toBeLessThan(30);
    expectQuiet(granter, REF);
  });

  it('GT-25: an accepting entry that never holds still takes no transfer', () => {
    const { granter, mapper } = granted();
    granter.entry(REF, { flags: GTF_accept_transfer, domid: mapper.id, frame: 0 });
    const mfn = mapper.detach(3);
    let looks = 0;
    {
      using _race = beforeExchange(granter, REF, () => {
        looks += 1;
        granter.setFlags(REF, granter.flags(REF) ^ 0x20);
      });
      const status = mapper.transfer({ mfn, domid: granter.id, ref: REF });
      expect(status).toBe(GNTST_general_error);
    }
    expect(looks).toBeLessThanOrEqual(5);
    expect(granter.domain.totPages).toBe(16);
    probe(granter, mapper);
  });

  const changes = [
    ['invalid', { flags: GTF_invalid }],
    ['another domain’s', { domid: 77 }],
    ['read-only', { flags: GTF_permit_access | GTF_readonly }],
    ['for a transfer', { flags: GTF_accept_transfer }],
  ] as const;
  const races = versions.flatMap((version) =>
    changes.map(([name, change]) => ({ version, name, change })),
  );
  it.each(races)(
    'GT-43: what is granted no more is not mapped: $name (version $version)',
    ({ version, change }) => {
      const { granter, mapper, entry, map } = granted(version);
      let raced = 0;
      {
        using _race = afterFirstLook(granter, version, () => {
          raced += 1;
          permit(granter, REF, { ...entry, ...change });
        });
        expect(map(rw).status).toBe(GNTST_general_error);
      }
      expect(raced).toBe(1);
      const { flags, domid } = granter.seen(REF);
      expect({ flags, domid }).toEqual({ flags: entry.flags, domid: entry.domid, ...change });
      expectQuiet(granter, REF);
      expect(granter.extraReferences(0)).toBe(0);
      expect(() => mapper.peek(windowOf(mapper.domain))).toThrow(PageFault);
      probe(granter, mapper);
    },
  );
});

describe('a failure after the entry was marked', () => {
  it.each(versions)(
    'GT-41: takes the mark back: a frame that is not there (version %i)',
    (version) => {
      const { granter, mapper, other, entry, map, remote, local } = granted(version);
      for (const frame of [0xfff_ffff, 0xffff_ffff, other.mfn(0), 0]) {
        permit(granter, REF, { ...entry, frame });
        for (const flags of [rw, ro]) expect(map(flags).status).toBe(GNTST_bad_page);
        expect(mapper.copy(remote, local, 8)).toBe(GNTST_bad_page);
        expect(mapper.copy(local, remote, 8)).toBe(GNTST_bad_page);
        expectQuiet(granter, REF);
        expect(granter.flags(REF)).toBe(GTF_permit_access);
      }
      // Nor does a host address where nothing can be mapped leave anything.
      permit(granter, REF, entry);
      const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: 0 };
      expect(mapper.map(op).status).toBe(GNTST_general_error);
      expectQuiet(granter, REF);
      expect(granter.extraReferences(0)).toBe(0);
      probe(granter, mapper);
    },
  );

  it.each(versions)(
    'GT-41: takes the mark back: a page that is paged out (version %i)',
    (version) => {
      const world = new World(1024);
      const granter = domainOf(world, version, { type: 'translated' });
      const mapper = world.domain();
      const frame = granter.mfn(3);
      const remote = { ref: REF, domid: granter.id };
      permit(granter, REF, { flags: GTF_permit_access, domid: mapper.id, frame: 3 });
      setP2m(granter.domain, 3, frame, p2m_ram_paged);
      const op = { dom: granter.id, ref: REF, flags: rw, hostAddr: windowOf(mapper.domain) };
      expect(mapper.map(op).status).toBe(GNTST_eagain);
      expect(mapper.copy(remote, { gmfn: mapper.mfn(0) }, 8)).toBe(GNTST_eagain);
      expect(mapper.copy({ gmfn: mapper.mfn(0) }, remote, 8)).toBe(GNTST_eagain);
      expectQuiet(granter, REF);
      expect(granter.flags(REF)).toBe(GTF_permit_access);
      probe(granter, mapper);
    },
  );
});

it.each(versions)('GT-45: a read-only grant is never written (version %i)', (version) => {
  const { granter, mapper, map, unmap, remote, local } = granted(
    version,
    GTF_permit_access | GTF_readonly,
  );
  const refused = () => {
    expect(map(rw, 1).status).toBe(GNTST_general_error);
    expect(mapper.copy(local, remote, 8)).toBe(GNTST_general_error);
  };
  refused();
  expectQuiet(granter, REF);
  const { handle } = map(ro);
  expect(mapper.peek(windowOf(mapper.domain))).toBe(0x11);
  expect(() => mapper.poke(windowOf(mapper.domain), 0x99)).toThrow(PageFault);
  refused();
  expect(granter.pin(REF)).toEqual({ ...unused, hstr: 1 });
  expect(useOf(granter, REF) & inUse).toBe(0x8);
  expect(mapper.copy(remote, local, 8)).toBe(GNTST_okay);
  expect(unmap(handle)).toBe(GNTST_okay);
  refused();
  expectQuiet(granter, REF);
  expect(page(granter, 0)).toEqual(filled(0x11));
});
