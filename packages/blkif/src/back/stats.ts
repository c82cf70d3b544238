/** What a block backend did for one frontend, since it connected. */
export interface BlkbackStats {
  /** Requests taken from the ring. */
  requests: number;
  /** Batches they came in; each costs at most two copy hypercalls and one notification. */
  batches: number;
  /** Answered without BLKIF_RSP_OKAY: malformed, not supported, a grant that could not be copied, a disk that failed. */
  failed: number;
  flushes: number;
  bytesRead: number;
  bytesWritten: number;
}

export const newBlkbackStats = (): BlkbackStats => ({
  requests: 0,
  batches: 0,
  failed: 0,
  flushes: 0,
  bytesRead: 0,
  bytesWritten: 0,
});
