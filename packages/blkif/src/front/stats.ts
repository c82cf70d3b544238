/** What went over a block device since it connected, as its guest sees it. */
export interface BlkfrontStats {
  /** Ring requests put, and answered. */
  requests: number;
  responses: number;
  /** Answered with anything but BLKIF_RSP_OKAY. */
  failed: number;
  flushes: number;
  /** Bytes of the reads and writes that were put. */
  bytesRead: number;
  bytesWritten: number;
  /** Batches the requests were pushed in, and the responses came in. */
  pushes: number;
  batches: number;
}

export const newBlkfrontStats = (): BlkfrontStats => ({
  requests: 0,
  responses: 0,
  failed: 0,
  flushes: 0,
  bytesRead: 0,
  bytesWritten: 0,
  pushes: 0,
  batches: 0,
});
