/** What each grant reference of a guest is used for: one thing at a time. */
import { InvariantError } from '../machine/errors.ts';
import { GrantError } from './errors.ts';

/** In nobody's hands. */
export const FREE = 0;
/** Of the toolstack and the firmware (GNTTAB_NR_RESERVED_ENTRIES). */
const KEPT = 1;
/** In a private reserve. */
export const RESERVED = 2;
/** In somebody's hands, and grants nothing. */
export const CLAIMED = 3;
/** Grants access. */
export const GRANTED = 4;
/** Awaits a frame. */
export const ACCEPTING = 5;
/** Given up, and waits until the peer lets go. */
export const DEFERRED = 6;

const WORDS = [
  'free',
  "the toolstack's",
  'in a private reserve',
  'claimed, and grants nothing',
  'granting access',
  'awaiting a transferred frame',
  'ended already, and waiting for the peer to let go',
] as const;

/** The page of a reference that grants none. Pages lie below this. */
export const NO_PAGE = 0x0fff_ffff;
const STATE_SHIFT = 28;

/** The state of each reference of one guest, and the page that it grants or fills. */
export class ReferenceStates {
  /** For each reference its state, and below that the page that it grants or fills (a gfn). */
  #words = new Uint32Array(0);

  /** There are references below `size`; the new ones are free. */
  grow(size: number): void {
    const words = new Uint32Array(size).fill((FREE << STATE_SHIFT) | NO_PAGE);
    words.set(this.#words);
    this.#words = words;
  }

  /** References below `end` are the toolstack's. */
  keep(end: number): void {
    this.#words.fill((KEPT << STATE_SHIFT) | NO_PAGE, 0, end);
  }

  /** Throws InvariantError, with what the reference is used for, if that is not `state`; GrantError if there is none. */
  check(ref: number, state: number): void {
    if (this.#words[ref]! >>> STATE_SHIFT !== state) this.#refuse(ref, state);
  }

  /** From one state to another, with the page if it has one; throws as `check`. */
  change(ref: number, from: number, to: number): void {
    const word = this.#words[ref]!;
    if (word >>> STATE_SHIFT !== from) this.#refuse(ref, from);
    this.#words[ref] = word ^ ((from ^ to) << STATE_SHIFT);
  }

  /** A claimed reference grants or fills `page`; throws as `check`. */
  begin(ref: number, state: number, page: number): void {
    this.check(ref, CLAIMED);
    this.#words[ref] = (state << STATE_SHIFT) | (page < NO_PAGE ? page : NO_PAGE);
  }

  /** It does so no longer, and is claimed; returns the page. */
  finish(ref: number): number {
    const page = this.#words[ref]! & NO_PAGE;
    this.#words[ref] = (CLAIMED << STATE_SHIFT) | NO_PAGE;
    return page;
  }

  #refuse(ref: number, wanted: number): never {
    const word = this.#words[ref];
    if (word === undefined) throw new GrantError(`reference ${ref}`, 'beyond the grant table');
    const page = word & NO_PAGE;
    const where = page === NO_PAGE ? '' : ` (page ${page})`;
    throw new InvariantError(
      `reference ${ref} is ${WORDS[word >>> STATE_SHIFT]!}${where}; it should be ${WORDS[wanted]!}`,
    );
  }
}
