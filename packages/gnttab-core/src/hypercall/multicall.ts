/** HYPERVISOR_multicall (xen.h): an array of hypercalls, each with its result beside it. */
import { XEN_EFAULT, XEN_EINVAL } from '../abi/errno.ts';
import { __HYPERVISOR_multicall, multicallEntry } from '../abi/xen.ts';
import type { Caller } from './caller.ts';
import { GuestStruct } from './guest-handle.ts';
import { Continuation, type Hypercall, type Registers, uint, word } from './registers.ts';

/** Registers that a hypercall can have. */
const ARGUMENTS = 5;

/**
 * multicall(call_list, nr_calls) for a caller; `call` runs one hypercall to its end. A call that fails does not stop the
 * others; a multicall in a multicall fails with -EINVAL.
 */
export function multicallOp(
  { domain, access }: Caller,
  call: (number: number, registers: Registers) => number,
): Hypercall {
  const { machine } = domain;
  const guest = new GuestStruct(access, multicallEntry[access.abi]);
  const resultOf = (): number => {
    const { op, args } = guest.fields;
    const number = uint(op);
    if (number === __HYPERVISOR_multicall) return -XEN_EINVAL;
    return call(
      number,
      Array.from({ length: ARGUMENTS }, (_, i) => args.get(i)),
    );
  };

  return ([listRegister, countRegister]) => {
    const list = word(listRegister, access.abi);
    const count = uint(countRegister);
    if (!access.okay(list, count, guest.size)) return -XEN_EFAULT;
    for (let i = 0; i < count; i++) {
      const at = list + i * guest.size;
      if (i > 0 && machine.preemptCheck()) return new Continuation(at, count - i);
      guest.read(at);
      guest.fields.result = BigInt(resultOf());
      guest.writeField(at, 'result');
    }
    return 0;
  };
}
