/** A device that cannot be used (any more), or a call that it cannot take. One line. */
export class BlkfrontError extends Error {
  override readonly name = 'BlkfrontError';
}

/** The backend could not do one read, write or flush; the device lives on. */
export class BlockIoError extends Error {
  override readonly name = 'BlockIoError';
  /** BLKIF_RSP_ERROR or BLKIF_RSP_EOPNOTSUPP. */
  readonly status: number;

  constructor(what: string, status: number) {
    super(
      `${what}: the backend answered ${status === -2 ? 'BLKIF_RSP_EOPNOTSUPP' : 'BLKIF_RSP_ERROR'}`,
    );
    this.status = status;
  }
}
