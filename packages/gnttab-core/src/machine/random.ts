/** Random numbers from a seed: xoshiro128** (Blackman and Vigna), seeded through splitmix32. */

export interface Random {
  /** 0 to 2^32 - 1. */
  u32(): number;
  /** 0 to n - 1. */
  below(n: number): number;
  /** An independent stream; the same label gives the same one. */
  fork(label: string): Random;
}

function splitmix32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e37_79b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

const rotateLeft = (value: number, bits: number) => (value << bits) | (value >>> (32 - bits));

export function seededRandom(seed: number): Random {
  const next = splitmix32(seed);
  let a = next();
  let b = next();
  let c = next();
  let d = next();
  const random: Random = {
    u32() {
      const result = Math.imul(rotateLeft(Math.imul(b, 5), 7), 9) >>> 0;
      const t = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= t;
      d = rotateLeft(d, 11);
      return result;
    },
    below: (n) => Math.floor((random.u32() / 2 ** 32) * n),
    fork(label) {
      let hash = seed | 0;
      for (let i = 0; i < label.length; i++)
        hash = Math.imul(hash ^ label.charCodeAt(i), 0x0100_0193);
      return seededRandom(hash);
    },
  };
  return random;
}
