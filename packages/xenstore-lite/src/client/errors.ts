/** What the client throws. */
import type { XenStoreErrorCode } from '../wire/errors.ts';

/** EIO also stands for a connection that is gone, and for a reply that makes no sense. */
export class XenStoreError extends Error {
  override readonly name = 'XenStoreError';
  readonly code: XenStoreErrorCode;
  /** What was asked for: a node, or a domain id. */
  readonly path: string;
  /** What was attempted, as a verb: `read`, `write`, `watch`, … */
  readonly attempted: string;

  constructor(code: XenStoreErrorCode, path: string, attempted: string, detail?: string) {
    super(`xenstore: cannot ${attempted} ${path}: ${code}${detail ? ` (${detail})` : ''}`);
    this.code = code;
    this.path = path;
    this.attempted = attempted;
  }
}

/** Whether an error is the store's answer with that code. */
export const isXenStoreError = (error: unknown, code: XenStoreErrorCode): error is XenStoreError =>
  error instanceof XenStoreError && error.code === code;
