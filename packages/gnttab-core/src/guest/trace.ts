/** What a guest's trace says of the grants that only version 2 has. */
import { defineTraceKind } from '../machine/trace-kinds.ts';

/** Kinds of trace records, as TRACE has those of version 1. */
export const GUEST_TRACE = {
  grantSubPage: defineTraceKind(13, 'grant_sub_page', ['ref', 'dom', 'frame', 'offset', 'length']),
  grantTransitive: defineTraceKind(14, 'grant_transitive', ['ref', 'dom', 'via_dom', 'via_ref']),
} as const;
