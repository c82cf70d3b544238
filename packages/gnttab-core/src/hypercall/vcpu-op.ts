/** HYPERVISOR_vcpu_op (vcpu.h): VCPUOP_register_vcpu_info. */
import { XEN_ENOENT, XEN_ENOSYS } from '../abi/errno.ts';
import { VCPUOP_register_vcpu_info, vcpuRegisterVcpuInfo } from '../abi/vcpu.ts';
import { registerVcpuInfo } from '../evtchn/index.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, wide } from './guest-handle.ts';
import { type Hypercall, uint, word } from './registers.ts';

/** vcpu_op(cmd, vcpuid, extra_args) for a caller. */
export function vcpuOp({ domain, access }: Caller): Hypercall {
  const guest = new GuestStruct(access, vcpuRegisterVcpuInfo[access.abi]);
  return ([cmdRegister, vcpuRegister, argRegister]) => {
    const vcpu = uint(vcpuRegister);
    if (vcpu >= domain.vcpus) return -XEN_ENOENT;
    if (uint(cmdRegister) !== VCPUOP_register_vcpu_info) return -XEN_ENOSYS;
    const { mfn_lo, mfn_hi, offset } = guest.read(word(argRegister, access.abi));
    return registerVcpuInfo(domain, vcpu, wide(mfn_lo, mfn_hi), offset);
  };
}
