/**
 * Every XenStore key of the network protocol that Ringside honours: who writes it, what it means, what it may be.
 * Source: io/netif.h, the comments at its head; the page-flipping keys are those of the drivers of 2005 to 2010.
 */
import { keyTable } from '@ringside/xenstore-lite';

const macPattern = /^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/;
const MAX_GRANT_REF = 0xffff_ffff;

const flag = <W extends 'frontend' | 'backend'>(writer: W, docs: string) =>
  ({ type: 'bool', default: false, writer, docs }) as const;

/** In the frontend's directory, written by the toolstack. */
export const deviceKeys = keyTable({
  mac: { type: 'string', pattern: macPattern, writer: 'toolstack', docs: 'Address of the vif.' },
  handle: {
    type: 'uint',
    max: 0xffff,
    default: 0,
    writer: 'toolstack',
    docs: 'Number of the vif.',
  },
});

/** In the backend's directory, written by the backend before InitWait. */
export const backendKeys = keyTable({
  'feature-rx-copy': flag('backend', 'The backend can copy into pages that the frontend grants.'),
  'feature-rx-flip': flag(
    'backend',
    'The backend can hand over frames to GTF_accept_transfer references.',
  ),
  'feature-tx-flip': flag(
    'backend',
    'Ours: the backend accepts frames from the frontend, over a ring named by tx-flip-ring-ref.',
  ),
  'feature-sg': flag('backend', 'The backend takes packets of several slots.'),
  'feature-no-csum-offload': flag(
    'backend',
    'The backend does not fill in checksums: every packet must come with a whole one.',
  ),
});

/** In the frontend's directory, written by the frontend before Connected. */
export const frontendKeys = keyTable({
  'tx-ring-ref': {
    type: 'uint',
    max: MAX_GRANT_REF,
    writer: 'frontend',
    docs: 'Grant reference of the netif_tx ring.',
  },
  'rx-ring-ref': {
    type: 'uint',
    max: MAX_GRANT_REF,
    writer: 'frontend',
    docs: 'Grant reference of the netif_rx ring.',
  },
  'event-channel': {
    type: 'uint',
    max: MAX_GRANT_REF,
    writer: 'frontend',
    docs: 'Unbound port for all rings of the vif.',
  },
  'request-rx-copy': flag(
    'frontend',
    'Whether received packets are copied; otherwise their pages are flipped (needs feature-rx-flip).',
  ),
  'feature-rx-notify': flag(
    'frontend',
    'The frontend notifies when it posts receive requests. Ringside requires it.',
  ),
  'feature-sg': flag('frontend', 'The frontend takes packets of several slots.'),
  'feature-no-csum-offload': flag('frontend', 'The frontend wants packets with whole checksums.'),
  'tx-flip-ring-ref': {
    type: 'uint',
    max: MAX_GRANT_REF,
    optional: true,
    writer: 'frontend',
    docs:
      'Ours: grant reference of a second ring of netif_rx layout, on which the backend posts ' +
      'GTF_accept_transfer references and the frontend hands over the frames of what it sends. ' +
      'With it nothing is sent over the netif_tx ring. The backend initialises the ring.',
  },
});
