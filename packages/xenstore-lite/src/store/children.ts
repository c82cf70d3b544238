/**
 * The names in a directory, in order of creation, as a persistent structure: a change copies one branch of a radix
 * tree (32 ways) and leaves every older version as it was. So a transaction's copy of a huge directory is a reference,
 * and adding to or removing from it costs a few dozen words.
 */

const BITS = 5;
const WAYS = 1 << BITS;

type Slot = Branch | string | undefined;
type Branch = readonly Slot[];

export class Children {
  static readonly none: Children = new Children([], BITS, 0, 0);

  /** The position that the next name gets. */
  readonly nextPosition: number;
  /** Length of the list on the wire: each name and a NUL. */
  readonly listBytes: number;
  readonly #top: Branch;
  /** log2 of the number of positions that `#top` can hold. */
  readonly #bits: number;

  private constructor(top: Branch, bits: number, nextPosition: number, listBytes: number) {
    this.#top = top;
    this.#bits = bits;
    this.nextPosition = nextPosition;
    this.listBytes = listBytes;
  }

  /** With `name` at the end, at position `nextPosition`. The caller knows that it is not there yet. */
  append(name: string): Children {
    const position = this.nextPosition;
    const full = position === 2 ** this.#bits;
    const top = full ? (this.listBytes > 0 ? [this.#top] : []) : this.#top;
    const bits = full ? this.#bits + BITS : this.#bits;
    const listBytes = this.listBytes + name.length + 1;
    return new Children(replaced(top, bits, position, name), bits, position + 1, listBytes);
  }

  /** Without the name at `position`; this same version when something else (or nothing) is there. */
  remove(position: number, name: string): Children {
    if (this.at(position) !== name) return this;
    const top = replaced(this.#top, this.#bits, position, undefined);
    const listBytes = this.listBytes - name.length - 1;
    return new Children(top, this.#bits, this.nextPosition, listBytes);
  }

  /** The name at a position, if there is one. */
  at(position: number): string | undefined {
    if (position >= this.nextPosition) return undefined;
    let slot: Slot = this.#top;
    for (let bits = this.#bits - BITS; slot !== undefined && bits >= 0; bits -= BITS) {
      slot = (slot as Branch)[wayOf(position, bits)];
    }
    return slot as string | undefined;
  }

  /** All names, oldest first. */
  names(): string[] {
    const names: string[] = [];
    const pending: Slot[] = [this.#top];
    for (let slot = pending.pop(); slot !== undefined; slot = pending.pop()) {
      if (typeof slot === 'string') names.push(slot);
      else pending.push(...slot.filter((below) => below !== undefined).reverse());
    }
    return names;
  }
}

/** Which of the 32 ways leads to `position`; positions may pass 32 bits in a directory that lives long. */
const wayOf = (position: number, bits: number): number => Math.floor(position / 2 ** bits) % WAYS;

/** A copy of `top` with one slot changed; a branch that became empty goes. The depth is log32 of all names ever made. */
function replaced(
  top: Branch,
  topBits: number,
  position: number,
  name: string | undefined,
): Branch {
  const path: Slot[][] = [];
  let branch: Branch = top;
  for (let bits = topBits - BITS; bits >= 0; bits -= BITS) {
    const copy = branch.slice();
    path.push(copy);
    branch = (copy[wayOf(position, bits)] as Branch | undefined) ?? [];
  }
  let below: Slot = name;
  for (let bits = 0; path.length > 0; bits += BITS) {
    const copy = path.pop()!;
    copy[wayOf(position, bits)] = below;
    below = copy.some((slot) => slot !== undefined) ? copy : undefined;
  }
  return (below as Branch | undefined) ?? [];
}
