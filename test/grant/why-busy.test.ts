/** whyBusy: why an end is refused, in sentences. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_device_map,
  GNTST_okay,
  GTF_accept_transfer,
  GTF_invalid,
  GTF_permit_access,
  GTF_sub_page,
  GTF_transfer_committed,
  GTF_transfer_completed,
  GTF_writing,
} from '@ringside/gnttab-core/abi';
import { copyEnd, copyOne, limitUse, whyBusy } from '@ringside/gnttab-core/hypervisor';
import { describe, expect, test } from 'vitest';
import { subPage, version2 } from './entries-v2.ts';
import { type Actor, copyOp, windowOf } from './world.ts';
import { grantOf, granted, REF, ro, rw, whyOf } from './describe-world.ts';

describe('why its end is refused', () => {
  const sentence = (granter: Actor, reason: string) =>
    `reference 8 of domain ${granter.id} cannot end: ${reason}`;

  test('nobody uses it', () => {
    const { granter } = granted();
    expect(whyOf(granter)).toEqual([
      `nobody uses reference 8 of domain ${granter.id}: the end would succeed`,
    ]);
  });

  test('every mapping is a reason', () => {
    const { granter, mapper, map, hex } = granted();
    const [a, b, c, d] = [
      map(ro, 0),
      map(rw, 1),
      map(rw | GNTMAP_device_map, 2),
      map(GNTMAP_device_map),
    ];
    expect(whyOf(granter)).toEqual(
      [
        `maps it read-only at ${hex(0)} (handle ${a.handle})`,
        `maps it writable at ${hex(1)} (handle ${b.handle})`,
        `maps it writable at ${hex(2)} and for devices (handle ${c.handle})`,
        `maps it writable for devices (handle ${d.handle})`,
      ].map((use) => sentence(granter, `domain ${mapper.id} ${use}`)),
    );
  });

  test.each<[version: 1 | 2, direction: 'from' | 'to']>([
    [1, 'from'],
    [1, 'to'],
    [2, 'from'],
    [2, 'to'],
  ])('version %i: a copy %s it, while the hypercall runs', (version, direction) => {
    const { granter, mapper } = granted();
    if (version === 2) {
      granter.entry(REF, { flags: GTF_invalid, domid: 0, frame: 0 });
      version2(granter);
      const whole = { pageOff: 0, length: PAGE_SIZE, frame: granter.frame(0) };
      subPage(granter, REF, {
        flags: GTF_permit_access | GTF_sub_page,
        domid: mapper.id,
        ...whole,
      });
    }
    const [theirs, own] = [{ ref: REF, domid: granter.id }, { gmfn: mapper.frame(1) }];
    const op = direction === 'from' ? copyOp(theirs, own, 16) : copyOp(own, theirs, 16);
    expect(op.flags).toBe(direction === 'from' ? GNTCOPY_source_gref : GNTCOPY_dest_gref);
    copyOne(mapper.domain, op);
    expect(op.status).toBe(GNTST_okay);
    const during = { granter: whyOf(granter), copies: grantOf(granter)?.copies };
    copyEnd(mapper.domain);
    expect(during).toEqual({
      granter: [sentence(granter, `domain ${mapper.id} is copying ${direction} it at this moment`)],
      copies: direction === 'from' ? { reading: 1, writing: 0 } : { reading: 0, writing: 1 },
    });
    expect(whyOf(granter)).toEqual([expect.stringContaining('the end would succeed')]);
  });

  test('flags that the guest has set itself', () => {
    const { granter, mapper, map, hex } = granted(GTF_permit_access | GTF_writing);
    const own = sentence(granter, `GTF_writing was set by domain ${granter.id} itself`);
    expect(whyOf(granter)).toEqual([own]);
    const { handle } = map(ro);
    expect(whyOf(granter)).toEqual([
      sentence(granter, `domain ${mapper.id} maps it read-only at ${hex()} (handle ${handle})`),
      own,
    ]);
  });

  test('flags that the guest has cleared itself: the end succeeds, and should not', () => {
    const { granter, mapper, map, hex } = granted();
    const { handle } = map(rw);
    granter.setFlags(REF, GTF_permit_access);
    expect(whyOf(granter)).toEqual([
      `reference 8 of domain ${granter.id} looks unused, for domain ${granter.id} cleared Xen's flags itself: ` +
        `the end would succeed, and yet domain ${mapper.id} maps it writable at ${hex()} (handle ${handle})`,
    ]);
  });

  test('a mapping that its owner overwrote, and a time limit', () => {
    const { granter, mapper, map } = granted();
    const { handle } = map(ro);
    mapper.hypercalls.updateVaMapping(windowOf(mapper.domain), null, false);
    limitUse(granter.domain, REF);
    expect(whyOf(granter)).toEqual([
      sentence(
        granter,
        `domain ${mapper.id} has overwritten its read-only mapping and not unmapped it (handle ${handle})`,
      ),
      expect.stringContaining('has a time limit'),
    ]);
  });

  test.each([
    ['has not come: the end would succeed', GTF_accept_transfer],
    ['is on its way, committed and not complete', GTF_accept_transfer | GTF_transfer_committed],
    [
      'has come: the end would succeed',
      GTF_accept_transfer | GTF_transfer_committed | GTF_transfer_completed,
    ],
  ])('a frame that %s', (what, flags) => {
    const { granter } = granted(flags);
    expect(whyOf(granter)).toEqual([expect.stringContaining(what)]);
  });

  test('there is nothing to end', () => {
    const { granter } = granted(GTF_invalid);
    expect(whyOf(granter)).toEqual([
      `reference 8 of domain ${granter.id} grants nothing: there is nothing to end`,
    ]);
    expect(() => whyOf(granter, 512)).toThrow(`domain ${granter.id} has no reference 512`);
    expect(() => whyBusy(granter.machine, 999, 0)).toThrow('there is no domain 999');
  });
});
