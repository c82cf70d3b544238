/** struct name_sring of io/ring.h up to its slots: 4 indices + pvt + padding = 64 bytes. */
import { array, struct, u32, u8 } from '../abi/struct.ts';

export const sring = struct(
  'sring',
  {
    req_prod: u32,
    req_event: u32,
    rsp_prod: u32,
    rsp_event: u32,
    pvt_pad: array(u8, 4),
    __pad: array(u8, 44),
  },
  { size: 64 },
);
