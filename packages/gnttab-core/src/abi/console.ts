/** io/console.h: the page of the PV console. */
import { array, structs, u32, u8 } from './struct.ts';

/** xencons_interface, io/console.h: two byte rings; `in` is towards the guest. */
export const xenconsInterface = structs(
  'xencons_interface',
  {
    in: array(u8, 1024),
    out: array(u8, 2048),
    in_cons: u32,
    in_prod: u32,
    out_cons: u32,
    out_prod: u32,
  },
  3088,
);
