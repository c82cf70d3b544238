/** What the block drivers write into the machine's trace. */

import { defineTraceKind } from '@ringside/gnttab-core';

const span = (edge: 'begin' | 'end', name: string) => ({ name, edge });

/**
 * `request` is the id of a ring request, made unique in its domain by the event channel port: `port << 16 | id`. Sectors
 * are units of 512 bytes; `sector` is the low half of the number.
 */
export const BLK_TRACE = {
  request: defineTraceKind(
    64,
    'blk_request',
    ['request', 'operation', 'sector', 'sectors'],
    span('begin', 'blk'),
  ),
  response: defineTraceKind(65, 'blk_response', ['request', 'status'], span('end', 'blk')),
  serve: defineTraceKind(
    66,
    'blkback_serve',
    ['request', 'operation', 'sector', 'sectors'],
    span('begin', 'blkback'),
  ),
  answer: defineTraceKind(67, 'blkback_answer', ['request', 'status'], span('end', 'blkback')),
} as const;
