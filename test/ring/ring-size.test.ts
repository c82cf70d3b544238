/** RING_SIZE as a C compiler computes it from the genuine header, for every ring in both ABIs (layouts.json). */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { ringSize, sring } from '@ringside/gnttab-core';

interface RingSizes {
  readonly ring_offset: number;
  readonly entry_size: number;
  readonly slots_by_pages: Readonly<Record<string, number>>;
  readonly slots_by_bytes: readonly (readonly [number, number])[];
}
interface Layouts {
  readonly abis: Readonly<Record<string, { readonly rings: Readonly<Record<string, RingSizes>> }>>;
}

const file = new URL('../vectors/abi/layouts.json.gz', import.meta.url);
const layouts = JSON.parse(gunzipSync(readFileSync(file)).toString('utf8')) as Layouts;

describe.each(Object.entries(layouts.abis))('__RING_SIZE on %s', (_abi, { rings }) => {
  it.each(Object.entries(rings))('of %s', (_tag, ring) => {
    expect(sring.size).toBe(ring.ring_offset);
    const byBytes = ring.slots_by_bytes.map(([bytes]) => [bytes, ringSize(ring.entry_size, bytes)]);
    expect(byBytes).toEqual(ring.slots_by_bytes);
    const pages = Object.keys(ring.slots_by_pages);
    const byPages = pages.map((count) => [count, ringSize(ring.entry_size, Number(count) * 4096)]);
    expect(Object.fromEntries(byPages)).toEqual(ring.slots_by_pages);
  });
});
