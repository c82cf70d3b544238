/** What the guest API throws: the status as data, the header's words for it, and what was being attempted. */
import { errnoNames } from '../abi/errno.ts';
import { gnttabErrorMessage } from '../abi/grant-table.ts';

/** A grant operation failed. */
export class GrantError extends Error {
  override readonly name = 'GrantError';
  /** GNTST_*, or undefined where the guest itself ran out (of references, of memory). */
  readonly status: number | undefined;

  /** `attempt` is what was to be done; `reason` a GNTST_*, or what the guest itself has to say. */
  constructor(attempt: string, reason: number | string) {
    super(`${attempt}: ${typeof reason === 'string' ? reason : gnttabErrorMessage(reason)}`);
    this.status = typeof reason === 'string' ? undefined : reason;
  }
}

/** An event channel operation failed. */
export class EventChannelError extends Error {
  override readonly name = 'EventChannelError';
  /** Positive errno. */
  readonly errno: number;

  /** `attempt` is what was to be done; `result` the hypercall's, -errno. */
  constructor(attempt: string, result: number) {
    super(`${attempt}: ${errnoNames.get(-result) ?? `errno ${-result}`}`);
    this.errno = -result;
  }
}

/** The guest has no page, or no room in its address space, left. */
export class GuestMemoryError extends Error {
  override readonly name = 'GuestMemoryError';
}
