/**
 * The binary door: hypercalls as a guest makes them that is not written in TypeScript, with arguments in registers and
 * structs in guest memory, laid out as the public headers say. It decodes, and calls the one implementation of each
 * operation.
 */
import { XEN_EFAULT, XEN_ENOSYS } from '../abi/errno.ts';
import type { Abi } from '../abi/struct.ts';
import {
  __HYPERVISOR_event_channel_op,
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_memory_op,
  __HYPERVISOR_mmu_update,
  __HYPERVISOR_multicall,
  __HYPERVISOR_sched_op,
  __HYPERVISOR_update_va_mapping,
  __HYPERVISOR_vcpu_op,
  __HYPERVISOR_xen_version,
} from '../abi/xen.ts';
import { PageFault } from '../machine/address-space.ts';
import { COUNTER } from '../machine/counters.ts';
import { InvariantError } from '../machine/errors.ts';
import type { Domain } from '../machine/machine.ts';
import type { Caller } from './caller.ts';
import { reap } from './domctl.ts';
import { eventChannelOp } from './event-channel-op.ts';
import { grantTableOp } from './grant-table-op.ts';
import { GuestAccess } from './guest-handle.ts';
import { memoryOp } from './memory-op.ts';
import { mmuUpdateOp, updateVaMappingOp } from './mmu-update.ts';
import { multicallOp } from './multicall.ts';
import { Continuation, type Hypercall, type Register, type Registers } from './registers.ts';
import { schedOp } from './sched-op.ts';
import { vcpuOp } from './vcpu-op.ts';
import { xenVersionOp } from './xen-version.ts';

export interface DoorOptions {
  /** How the guest's structs are laid out. Default: as the domain's shared info page. */
  abi?: Abi;
  /** The virtual CPU that makes the calls. Default 0. */
  vcpu?: number;
  /** mmu_update has the form of 2004, when grant tables were new. Default false. */
  mmuExtendedCommand?: boolean;
}

/** Legs of a hypercall in a row that may look alike. EVTCHNOP_reset of all ports of FIFO delivery has 2,048 of them. */
const MAX_LEGS_ALIKE = 4096;

/** A hypercall that is continued again and again and gets nowhere: its guest would hang for ever. */
export class EndlessContinuation extends Error {
  override readonly name = 'EndlessContinuation';
}

/** The hypercalls of one virtual CPU. */
export class HypercallDoor {
  readonly #domain: Domain;
  readonly #hypercalls: ReadonlyMap<number, Hypercall>;

  /** Throws RangeError for an ABI or a virtual CPU that there is not. */
  constructor(domain: Domain, options: DoorOptions = {}) {
    const { abi = domain.abi, vcpu = 0, mmuExtendedCommand = false } = options;
    if (abi !== 'x86_64' && abi !== 'i386') {
      throw new RangeError(`abi ${String(abi)}: allowed are x86_64 and i386`);
    }
    if (!Number.isInteger(vcpu) || vcpu < 0 || vcpu >= domain.vcpus) {
      throw new RangeError(`virtual CPU ${vcpu}: domain ${domain.id} has ${domain.vcpus}`);
    }
    const caller: Caller = { domain, vcpu, access: new GuestAccess(domain, abi) };
    this.#domain = domain;
    domain.machine.onDomainEmpty = reap;
    this.#hypercalls = new Map<number, Hypercall>([
      [__HYPERVISOR_grant_table_op, grantTableOp(caller)],
      [__HYPERVISOR_memory_op, memoryOp(caller)],
      [__HYPERVISOR_event_channel_op, eventChannelOp(caller)],
      [__HYPERVISOR_sched_op, schedOp(caller)],
      [__HYPERVISOR_vcpu_op, vcpuOp(caller)],
      [__HYPERVISOR_xen_version, xenVersionOp(caller)],
      [__HYPERVISOR_multicall, multicallOp(caller, (number, args) => this.#run(number, args))],
      // The hardware translates for the others: they have no page tables of ours to change.
      ...(domain.translated
        ? []
        : ([
            [__HYPERVISOR_mmu_update, mmuUpdateOp(caller, mmuExtendedCommand)],
            [__HYPERVISOR_update_va_mapping, updateVaMappingOp(caller)],
          ] as const)),
    ]);
  }

  /**
   * Makes a hypercall (__HYPERVISOR_*) and returns what the guest finds in its register: >= 0, or -errno. What a
   * preempted hypercall has left is done before it returns. Throws EndlessContinuation if it never would, and
   * InvariantError for a domain that was destroyed or has crashed: its code does not run.
   */
  hypercall(
    number: number,
    a1?: Register,
    a2?: Register,
    a3?: Register,
    a4?: Register,
    a5?: Register,
  ): number {
    this.#enter();
    try {
      return this.#run(
        number,
        [a1, a2, a3, a4, a5].map((register) => register ?? 0),
      );
    } finally {
      this.#domain.machine.reap();
    }
  }

  /**
   * Makes the first leg of a hypercall: what a virtual CPU does before it is preempted. If that was not all there is to do,
   * the result is the continuation, and it is the caller's whether it is ever made. Throws InvariantError as `hypercall` does.
   */
  hypercallLeg(number: number, ...registers: readonly Register[]): number | Continuation {
    this.#enter();
    try {
      const hypercall = this.#hypercalls.get(number);
      return hypercall === undefined ? -XEN_ENOSYS : leg(hypercall, registers);
    } finally {
      this.#domain.machine.reap();
    }
  }

  /** Counts a hypercall of a domain that runs. */
  #enter(): void {
    const domain = this.#domain;
    if (!domain.alive || domain.crashed) {
      const end = domain.alive ? 'has crashed' : 'was destroyed';
      throw new InvariantError(`a hypercall of domain ${domain.id}, which ${end}`);
    }
    domain.count(COUNTER.hypercalls);
  }

  /** Runs a hypercall leg by leg to its end. */
  #run(number: number, registers: Registers): number {
    const hypercall = this.#hypercalls.get(number);
    if (hypercall === undefined) return -XEN_ENOSYS;
    let outcome = leg(hypercall, registers);
    for (let alike = 1; outcome instanceof Continuation;) {
      const next = outcome.registers;
      alike = next.every((register, i) => register === registers[i]) ? alike + 1 : 1;
      if (alike > MAX_LEGS_ALIKE) {
        throw new EndlessContinuation(
          `domain ${this.#domain.id}: hypercall ${number} (${next.join(', ')}) makes no progress`,
        );
      }
      registers = next;
      outcome = leg(hypercall, registers);
    }
    return outcome;
  }
}

function leg(hypercall: Hypercall, registers: Registers): number | Continuation {
  try {
    return hypercall(registers);
  } catch (fault) {
    if (fault instanceof PageFault) return -XEN_EFAULT;
    throw fault;
  }
}
