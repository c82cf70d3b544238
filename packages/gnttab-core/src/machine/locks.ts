/**
 * The hypervisor's locks, made of atomics on 32-bit words of machine memory, so that they hold between threads.
 * Critical sections are short, so a waiter spins; `Atomics.load` in the loop keeps the cache line shared meanwhile.
 * Hierarchy: seeds/grant-tables.txt, "Locking".
 */

/** Any lock word: 0 is free. */
type Words = Int32Array<ArrayBufferLike>;

/** Takes a spinlock. `word` indexes the 32-bit word. */
export function spinLock(words: Words, word: number): void {
  while (Atomics.compareExchange(words, word, 0, 1) !== 0) {
    while (Atomics.load(words, word) !== 0);
  }
}

export function spinUnlock(words: Words, word: number): void {
  Atomics.store(words, word, 0);
}

/** A rwlock's word counts readers; its sign bit is the writer, whose claim also keeps new readers out. */
const WRITER = -0x8000_0000;

export function readLock(words: Words, word: number): void {
  while (Atomics.add(words, word, 1) < 0) {
    Atomics.sub(words, word, 1);
    while (Atomics.load(words, word) < 0);
  }
}

export function readUnlock(words: Words, word: number): void {
  Atomics.sub(words, word, 1);
}

export function writeLock(words: Words, word: number): void {
  while ((Atomics.or(words, word, WRITER) & WRITER) !== 0) {
    while (Atomics.load(words, word) < 0);
  }
  while (Atomics.load(words, word) !== WRITER);
}

export function writeUnlock(words: Words, word: number): void {
  Atomics.and(words, word, ~WRITER);
}
