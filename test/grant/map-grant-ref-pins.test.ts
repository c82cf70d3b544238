/** GNTTABOP_map_grant_ref (grant_table.h): handles, pin counts, and entries that are in use. */
import {
  GNTMAP_device_map,
  GNTMAP_readonly,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { nrMaptrackEntries } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { beforeExchange, windowOf, World } from './world.ts';
import { NOBODY, REF, exhaust, granted, ro, rw } from './map-world.ts';

describe('handles', () => {
  it('n frames of map track entries make 256n - 1 handles; the next map has no space', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    const handles = exhaust(mapper, granter, REF);
    expect(new Set(handles).size).toBe(255);
    expect(nrMaptrackEntries(mapper.domain)).toBe(256);
    const again = { dom: granter.id, ref: REF, flags: GNTMAP_device_map };
    const flags = granter.flags(REF);
    expect(mapper.map(again).status).toBe(GNTST_no_space);
    expect(granter.flags(REF)).toBe(flags);
    expect(mapper.unmap({ handle: handles[7]!, hostAddr: windowOf(mapper.domain, 7) })).toBe(
      GNTST_okay,
    );
    expect(mapper.map(again).status).toBe(GNTST_okay);
    expect(mapper.map(again).status).toBe(GNTST_no_space);
  });

  it('the table of handles grows by a frame at a time', () => {
    const world = new World();
    const mapper = world.domain({ maxMaptrackFrames: 2 });
    const granter = world.domain();
    let maps = 0;
    for (let ref = 8; ref < 16; ref++) {
      granter.entry(ref, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
      for (let n = 0; n < 128; n++) {
        const op = mapper.map({ dom: granter.id, ref, flags: GNTMAP_device_map });
        if (op.status === GNTST_okay) maps += 1;
        else expect(op.status).toBe(GNTST_no_space);
      }
    }
    expect(maps).toBe(511);
  });

  it('a failed map gives its handle back', () => {
    const world = new World();
    const granter = world.domain();
    const mapper = world.domain({ maxMaptrackFrames: 1 });
    for (let n = 0; n < 1000; n++) {
      expect(mapper.map({ dom: granter.id, ref: REF, flags: rw }).status).toBe(GNTST_general_error);
    }
    granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
    exhaust(mapper, granter, REF);
  });

  it('of two domains are counted apart', () => {
    const { granter, mapper, other, map } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const mine = map();
    const theirs = other.map({
      dom: granter.id,
      ref: 9,
      flags: rw,
      hostAddr: windowOf(other.domain),
    });
    expect(theirs.handle).toBe(mine.handle);
    expect(mapper.unmap({ handle: mine.handle, hostAddr: windowOf(mapper.domain) })).toBe(
      GNTST_okay,
    );
    expect(other.pte()?.frame).toBe(granter.mfn(0));
  });
});

describe('pin counts', () => {
  it('a counter takes 128 references; the other kind is counted apart (GT-38)', () => {
    const { granter, map, unmap } = granted();
    const handles = Array.from({ length: 128 }, (_, n) => map(rw, n).handle);
    expect(granter.pin(REF).hstw).toBe(128);
    const flags = granter.flags(REF);
    expect(map(rw, 200).status).toBe(GNTST_general_error);
    expect(granter.pin(REF).hstw).toBe(128);
    expect(granter.flags(REF)).toBe(flags);
    expect(map(ro, 201).status).toBe(GNTST_okay);
    expect(map(GNTMAP_device_map).status).toBe(GNTST_okay);
    expect(unmap(handles[0]!, 0)).toBe(GNTST_okay);
    expect(map(rw, 200).status).toBe(GNTST_okay);
  });

  it.each([
    ['hstr', ro],
    ['devw', GNTMAP_device_map],
    ['devr', GNTMAP_device_map | GNTMAP_readonly],
  ] as const)('%s stops at 128 as well', (counter, flags) => {
    const { granter, map } = granted();
    for (let n = 0; n < 128; n++) expect(map(flags, n).status).toBe(GNTST_okay);
    expect(granter.pin(REF)[counter]).toBe(128);
    expect(map(flags, 200).status).toBe(GNTST_general_error);
  });

  it('a map of both halves needs room in both counters', () => {
    const { granter, map } = granted();
    for (let n = 0; n < 128; n++) map(GNTMAP_device_map);
    expect(map(rw | GNTMAP_device_map).status).toBe(GNTST_general_error);
    expect(granter.pin(REF)).toEqual({ hstw: 0, hstr: 0, devw: 128, devr: 0 });
  });

  it('a copy needs room in the host counters too', () => {
    const { granter, mapper, map } = granted();
    for (let n = 0; n < 128; n++) map(ro, n);
    const dest = { gmfn: mapper.frame(0) };
    expect(mapper.copy({ ref: REF, domid: granter.id }, dest, 1)).toBe(GNTST_general_error);
    const source = { gmfn: mapper.frame(0) };
    expect(mapper.copy(source, { ref: REF, domid: granter.id }, 1)).toBe(GNTST_okay);
  });
});

describe('an entry that is in use', () => {
  it.each([
    ['revoked', { flags: GTF_invalid }],
    ['made a transfer', { flags: GTF_accept_transfer }],
    ['pointed at another frame', { frame: 1 }],
    ['given to somebody else', { domid: NOBODY }],
    ['made sub-page', { flags: GTF_permit_access | GTF_sub_page }],
  ])('and %s is still mapped as it was first granted', (_, change) => {
    const { granter, mapper, map } = granted();
    map(rw);
    granter.entry(REF, { ...granter.seen(REF), ...change });
    expect(map(rw, 1).status).toBe(GNTST_okay);
    expect(mapper.pte(1)?.frame).toBe(granter.mfn(0));
  });

  it('is nobody else’s to map, whatever the guest writes', () => {
    const { granter, other, map } = granted();
    map(rw);
    granter.entry(REF, { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) });
    const op = other.map({
      dom: granter.id,
      ref: REF,
      flags: rw,
      hostAddr: windowOf(other.domain),
    });
    expect(op.status).toBe(GNTST_general_error);
  });

  it('is looked at again by the first writer: a read-only flag stops it', () => {
    const { granter, map } = granted();
    map(ro);
    granter.setFlags(REF, GTF_permit_access | GTF_readonly | GTF_reading);
    expect(map(rw, 1).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_readonly | GTF_reading);
    granter.setFlags(REF, GTF_permit_access | GTF_reading);
    expect(map(rw, 1).status).toBe(GNTST_okay);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(rw, 2).status).toBe(GNTST_okay);
  });

  it('a device writer counts as one', () => {
    const { granter, map } = granted();
    map(GNTMAP_device_map);
    granter.setFlags(REF, granter.flags(REF) | GTF_readonly);
    expect(map(rw).status).toBe(GNTST_okay);
  });

  it('shows the first writer in its flags even if they are invalid now', () => {
    const { granter, map } = granted();
    map(ro);
    granter.setFlags(REF, 0);
    expect(map(rw, 1).status).toBe(GNTST_okay);
    expect(granter.flags(REF)).toBe(GTF_reading | GTF_writing);
  });
});

describe('while the guest writes at the same time', () => {
  it('flags and domid are looked at together: a word that changed is looked at anew (GT-43)', () => {
    const { granter, other, map } = granted();
    const entry = { flags: GTF_permit_access, domid: other.id, frame: granter.frame(0) };
    using _race = beforeExchange(granter, REF, () => granter.entry(REF, entry));
    expect(map().status).toBe(GNTST_general_error);
    expect(granter.seen(REF)).toEqual(entry);
  });

  it('a read-only flag that appears stops the writer', () => {
    const { granter, map } = granted();
    using _race = beforeExchange(granter, REF, () =>
      granter.setFlags(REF, GTF_permit_access | GTF_readonly),
    );
    expect(map(rw).status).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_readonly);
  });

  it('a word that never holds still is refused after a few looks (XSA-295)', () => {
    const { granter, map } = granted();
    let looks = 0;
    {
      using _race = beforeExchange(granter, REF, () => {
        looks += 1;
        granter.setFlags(REF, granter.flags(REF) ^ 0x20);
      });
      expect(map().status).toBe(GNTST_general_error);
    }
    expect(looks).toBeGreaterThan(1);
    expect(looks).toBeLessThan(10);
    expect(granter.flags(REF) & (GTF_reading | GTF_writing)).toBe(0);
    expect(map().status).toBe(GNTST_okay);
  });
});

describe('a batch', () => {
  it('goes on after a failing element; each has its own status (GT-52)', () => {
    const { granter, mapper, map } = granted();
    const ops = Array.from({ length: 16 }, (_, n) => {
      const op = map(0, n);
      op.flags = rw;
      if (n === 3) op.ref = 512;
      if (n === 9) op.dom = NOBODY;
      return op;
    });
    mapper.hypercalls.gnttabMap(ops);
    const expected = Array.from({ length: 16 }, () => GNTST_okay as number);
    expected[3] = GNTST_bad_gntref;
    expected[9] = GNTST_bad_domain;
    expect(ops.map(({ status }) => status)).toEqual(expected);
    expect(granter.pin(REF).hstw).toBe(14);
  });

  it('of `count` elements touches no more', () => {
    const { granter, mapper, map } = granted();
    const ops = [map(0, 0), map(0, 1)];
    for (const op of ops) op.flags = rw;
    mapper.hypercalls.gnttabMap(ops, 1);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(mapper.pte(1)).toBeUndefined();
  });
});

describe('over a mapping that is there', () => {
  it('the new one replaces the old, whose handle can then never be unmapped (SEMANTICS 14)', () => {
    const { granter, mapper, map, unmap } = granted();
    granter.entry(9, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(1) });
    const old = map();
    const hostAddr = windowOf(mapper.domain);
    const fresh = mapper.map({ dom: granter.id, ref: 9, flags: rw, hostAddr });
    expect(fresh.status).toBe(GNTST_okay);
    expect(mapper.pte()?.frame).toBe(granter.mfn(1));
    expect(granter.extraReferences(0)).toBe(0);
    expect(granter.pin(REF).hstw).toBe(1);
    expect(unmap(old.handle)).toBe(GNTST_general_error);
    expect(unmap(fresh.handle)).toBe(GNTST_okay);
    expect(unmap(old.handle)).toBe(GNTST_general_error);
    expect(granter.flags(REF)).toBe(GTF_permit_access | GTF_reading | GTF_writing);
  });
});
