/** Numbers that are free or taken, handed out one by one or in runs: what the allocators of a guest kernel stand on. */

const FREE = 1;
const ON_STACK = 2;

/** Numbers from 0 up to a size that grows. Nothing is checked: who gives a number has taken it. */
export class NumberPool {
  /** FREE for each number that is, the truth; and ON_STACK. */
  #marks = new Uint8Array(0);
  /** Candidates for a single number, each once; those that a run took meanwhile are passed over. */
  readonly #stack: number[] = [];
  #count = 0;

  /** Numbers that can be taken. */
  get count(): number {
    return this.#count;
  }

  /** Numbers that there are: they lie below this. */
  get size(): number {
    return this.#marks.length;
  }

  /** Free numbers at the upper end: a run that grows with the next `add`. */
  get tail(): number {
    let first = this.size;
    while (first > 0 && this.isFree(first - 1)) first -= 1;
    return this.size - first;
  }

  /** Nobody has taken it. False beyond `size`. */
  isFree(n: number): boolean {
    return (this.#marks[n]! & FREE) !== 0;
  }

  /** The numbers from `first` up to `end` are there and free; the lowest are taken first. */
  add(first: number, end: number): void {
    const marks = new Uint8Array(end);
    marks.set(this.#marks);
    this.#marks = marks;
    for (let n = end - 1; n >= first; n--) this.give(n);
  }

  /** Any free number, the last that was given first; -1 if there is none. Constant time. */
  take(): number {
    for (;;) {
      const n = this.#stack.pop();
      if (n === undefined) return -1;
      const mark = this.#marks[n]!;
      this.#marks[n] = 0;
      if ((mark & FREE) === 0) continue;
      this.#count -= 1;
      return n;
    }
  }

  /** `count` (at least 1) neighbouring numbers, the lowest that there are; returns the first, -1 if there are none. */
  takeRun(count: number): number {
    let run = 0;
    for (let n = 0; n < this.size; n++) {
      run = this.isFree(n) ? run + 1 : 0;
      if (run < count) continue;
      const first = n + 1 - count;
      for (let taken = first; taken <= n; taken++) this.#marks[taken]! &= ~FREE;
      this.#count -= count;
      return first;
    }
    return -1;
  }

  /** A taken number is free again. Constant time. */
  give(n: number): void {
    if (this.#marks[n] !== ON_STACK) this.#stack.push(n);
    this.#marks[n] = FREE | ON_STACK;
    this.#count += 1;
  }
}
