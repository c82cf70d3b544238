import { describe, expect, it } from 'vitest';
import { abis, cName, structs } from './declared.ts';
import { asFarAs, fromSample, loadThrough, storeThrough } from './samples.ts';
import { samplesOf } from './vectors.ts';

const names = structs.map((struct) => cName(struct.x86_64));
const samples = samplesOf(new Set(names));

/** Not a multiple of anything: a struct may lie anywhere. */
const offsetBytes = 3;

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

describe.each(abis)('%s', (abi) => {
  const sampled = structs
    .map((struct) => struct[abi])
    .map((struct) => ({
      struct,
      of: samples.filter((sample) => sample.abi === abi && sample.type === cName(struct)),
    }))
    .filter(({ of }) => of.length > 0);

  it.each(sampled.map(({ struct, of }) => [cName(struct), struct, of] as const))(
    '%s',
    (_name, struct, of) => {
      const cursor = struct.cursor();
      for (const { i, fields, hex } of of) {
        const value = fromSample(struct, fields) as Parameters<typeof struct.encode>[2];
        const bytes = new Uint8Array(offsetBytes + struct.size).fill(0xa5);
        const view = new DataView(bytes.buffer);
        const encoded = () => Buffer.from(bytes.subarray(offsetBytes)).toString('hex');

        struct.encode(view, offsetBytes, value);
        expect(encoded(), `encode of sample ${i}`).toBe(hex);

        bytes.fill(0);
        storeThrough(cursor.at(view, offsetBytes), struct, value);
        expect(encoded(), `store of sample ${i}`).toBe(hex);

        bytes.fill(0);
        bytes.set(bytesOf(hex), offsetBytes);
        expect(asFarAs(value, struct.decode(view, offsetBytes)), `decode of sample ${i}`).toEqual(
          value,
        );
        expect(loadThrough(cursor, struct, value), `load of sample ${i}`).toEqual(value);
      }
    },
  );

  const lines = sampled.reduce((sum, { of }) => sum + of.length, 0);
  it(`replays ${lines} samples of ${sampled.length} types`, () => {
    expect(sampled.length).toBeGreaterThan(0);
    expect(lines).toBe(64 * sampled.length);
  });
});
