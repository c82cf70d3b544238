/** The domains that the store knows: introduced by the toolstack, alive in the hypervisor. */

interface IntroducedDomain {
  /** The domain whose rights this one has too (XS_SET_TARGET). */
  target: number | undefined;
  /** Told to the watchers of @releaseDomain already. */
  shutDown: boolean;
}

export class Domains {
  readonly #introduced = new Map<number, IntroducedDomain>([
    [0, { target: undefined, shutDown: false }],
  ]);
  readonly #inHypervisor: (domid: number) => boolean;

  constructor(inHypervisor: (domid: number) => boolean) {
    this.#inHypervisor = inHypervisor;
  }

  /** Whether there is such a domain now, introduced or not. */
  exists(domid: number): boolean {
    return this.#introduced.has(domid) || this.#inHypervisor(domid);
  }

  isIntroduced(domid: number): boolean {
    return this.#introduced.has(domid);
  }

  introduce(domid: number): void {
    this.#introduced.set(domid, { target: undefined, shutDown: false });
  }

  release(domid: number): void {
    this.#introduced.delete(domid);
  }

  /** Remembers that a domain has shut down (or runs again); answers whether that is news of an introduced domain. */
  setShutDown(domid: number, shutDown: boolean): boolean {
    const domain = this.#introduced.get(domid);
    if (!domain || domain.shutDown === shutDown) return false;
    domain.shutDown = shutDown;
    return true;
  }

  targetOf(domid: number): number | undefined {
    return this.#introduced.get(domid)?.target;
  }

  /** Both must be introduced. */
  setTarget(domid: number, target: number): void {
    this.#introduced.get(domid)!.target = target;
  }
}
