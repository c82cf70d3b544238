/** Security catalogue, grant tables: a granter that rewrites entries in use. What is pinned is what was granted. */
import {
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
  GTF_readonly,
  GTF_sub_page,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { type Actor, windowOf } from '../grant/world.ts';
import {
  entryV2,
  expectQuiet,
  granted,
  permit,
  permitTransitive,
  probe,
  REF,
  ro,
  rw,
  versions,
} from './grant-world.ts';

const page = (actor: Actor, gfn: number) => Uint8Array.from(actor.bytes(actor.mfn(gfn)));
const filled = (byte: number) => new Uint8Array(4096).fill(byte);

describe('an entry in use', () => {
  const rewrites: [string, (scene: ReturnType<typeof granted>, version: 1 | 2) => void][] = [
    [
      'another frame',
      ({ granter, entry }) => permit(granter, REF, { ...entry, frame: granter.mfn(1) }),
    ],
    [
      'another frame, read-only',
      ({ granter, entry }) => {
        const flags = GTF_permit_access | GTF_readonly;
        permit(granter, REF, { ...entry, flags, frame: granter.mfn(1) });
      },
    ],
    [
      'part of another frame',
      ({ granter, entry }, version) => {
        const flags = GTF_permit_access | GTF_sub_page;
        permit(granter, REF, { ...entry, flags, frame: granter.mfn(1) });
        if (version === 2) {
          entryV2(granter, REF).sub_page.page_off = 64;
          entryV2(granter, REF).sub_page.length = 64;
        }
      },
    ],
    [
      'another domain’s grant',
      ({ granter, mapper, other, entry }, version) => {
        other.bytes(other.mfn(0)).fill(0x22);
        permit(other, REF, { ...entry, domid: granter.id, frame: other.mfn(0) });
        if (version === 2) permitTransitive(granter, REF, mapper.id, other, REF);
        else permit(granter, REF, { ...entry, flags: 3, frame: granter.mfn(1) });
      },
    ],
    [
      'invalid',
      ({ granter, entry }) => permit(granter, REF, { ...entry, flags: 0, frame: granter.mfn(1) }),
    ],
  ];
  const cases = versions.flatMap((version) =>
    rewrites.flatMap(([name, rewrite]) =>
      [ro, rw].map((pinned) => ({
        version,
        name,
        pin: pinned === ro ? 'ro' : 'rw',
        pinned,
        rewrite,
      })),
    ),
  );
  it.each(cases)(
    'GT-34: pinned $pin and rewritten as $name, a copy touches the pinned frame or none (version $version)',
    ({ version, pinned, rewrite }) => {
      const scene = granted(version);
      const { granter, mapper, other, map, unmap, remote, local } = scene;
      const { handle } = map(pinned);
      rewrite(scene, version);
      mapper.bytes(mapper.mfn(0)).fill(0x33);
      mapper.bytes(mapper.mfn(1)).fill(0x44);

      const read = mapper.copy({ ...remote, offset: 64 }, { ...local, offset: 64 }, 32);
      expect([GNTST_okay, GNTST_general_error]).toContain(read);
      const got = page(mapper, 0).subarray(64, 96);
      expect(got).toEqual(filled(read === GNTST_okay ? 0x11 : 0x33).subarray(64, 96));

      const written = mapper.copy({ gmfn: mapper.mfn(1) }, remote, 4096);
      expect([GNTST_okay, GNTST_general_error]).toContain(written);
      expect(page(granter, 0)).toEqual(filled(written === GNTST_okay ? 0x44 : 0x11));
      expect(page(granter, 1)).toEqual(filled(0x22));
      expect(page(other, 0)).not.toContain(0x44);

      expect(unmap(handle)).toBe(GNTST_okay);
      expectQuiet(granter, REF);
      expectQuiet(other, REF);
      expect(granter.extraReferences(0)).toBe(0);
      probe(granter, mapper);
    },
  );

  it.each(versions)('GT-44: a mapping stays where it was made (version %i)', (version) => {
    const { granter, mapper, other, entry, map, unmap } = granted(version);
    const { handle } = map(rw);
    permit(granter, REF, { ...entry, frame: granter.mfn(1) });
    mapper.poke(windowOf(mapper.domain) + 5, 0x99);
    expect(page(granter, 0)[5]).toBe(0x99);
    expect(page(granter, 1)).toEqual(filled(0x22));

    expect(map(rw, 1).status).toBe(GNTST_okay);
    expect(mapper.pte(1)?.frame).toBe(granter.mfn(0));
    expect(unmap(handle + 1, 1)).toBe(GNTST_okay);

    permit(granter, REF, { ...entry, domid: other.id, frame: granter.mfn(1) });
    const hostAddr = windowOf(other.domain);
    const theirs = () => other.map({ dom: granter.id, ref: REF, flags: ro, hostAddr });
    expect(theirs().status).toBe(GNTST_general_error);
    expect(unmap(handle)).toBe(GNTST_okay);
    // Only now is the entry what it says.
    expect(theirs().status).toBe(GNTST_okay);
    expect(other.pte()?.frame).toBe(granter.mfn(1));
  });
});
