/** What goes wrong between the two ends of a device. */

/** A value that the other end (or the toolstack) wrote, or did not write. */
export class XenbusKeyError extends Error {
  override readonly name = 'XenbusKeyError';
  /** The node. */
  readonly path: string;
  /** Undefined: missing. */
  readonly value: string | undefined;
  readonly allowed: string;

  constructor(path: string, value: string | undefined, allowed: string) {
    const found = value === undefined ? 'is missing' : `is ${JSON.stringify(value.slice(0, 64))}`;
    super(`xenbus: ${path} ${found}, allowed is ${allowed}`);
    this.path = path;
    this.value = value;
    this.allowed = allowed;
  }
}

/** A step that the state machine does not have, or of a device that is gone. */
export class XenbusStateError extends Error {
  override readonly name = 'XenbusStateError';
}
