/** struct name_sring of io/ring.h up to its slots. */
import { sringHeader } from '../abi/ring.ts';
import { struct } from '../abi/struct.ts';

/** Four indices (16 bytes), pvt (4), padding (44). Its size is where the slots begin. */
export const sring = struct('sring', sringHeader, { size: 64 });
