/** Private reserves of grant references. Source: docs/misc/grant-tables.txt of Xen, "Using a private reserve of grant references". */
import type { GrantRef } from '../machine/page.ts';
import { GrantError } from './errors.ts';

/** A private reserve: references that cannot be missing when they are needed (docs/misc/grant-tables.txt of Xen). */
export class GrantReserve {
  readonly #refs: GrantRef[];
  readonly #giveBack: (ref: GrantRef) => void;

  constructor(refs: GrantRef[], giveBack: (ref: GrantRef) => void) {
    this.#refs = refs;
    this.#giveBack = giveBack;
  }

  /** References that can be claimed. */
  get available(): number {
    return this.#refs.length;
  }

  /** gnttab_claim_grant_reference(). Throws GrantError when all are claimed. */
  claim(): GrantRef {
    const ref = this.#refs.pop();
    if (ref === undefined)
      throw new GrantError('private reserve', 'all its references are claimed');
    return ref;
  }

  /** gnttab_release_grant_reference(): a claimed reference, whose grant was ended, goes back to the reserve. */
  release(ref: GrantRef): void {
    this.#refs.push(ref);
  }

  /** gnttab_free_grant_references(): what is not claimed goes back to the shared pool. */
  free(): void {
    for (const ref of this.#refs.splice(0)) this.#giveBack(ref);
  }
}
