/** The error names that XS_ERROR replies carry. io/xs_wire.h, xsd_errors. */
import type { xsd_errors } from './abi.ts';

export type XenStoreErrorCode = (typeof xsd_errors)[number]['errstring'];
