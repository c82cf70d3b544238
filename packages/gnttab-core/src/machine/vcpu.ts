/** Virtual CPUs: where the struct of each is. */
import { allocXenHeapPage, freeXenHeapPage } from './frame-table.ts';
import { DOMAIN, INVALID_MFN, VCPUS_PER_GROUP, vcpuStruct } from './layout.ts';
import type { Domain } from './machine.ts';
import { frameAddress, PAGE_SIZE } from './page.ts';

// Constants of this module: V8 folds them into the code, what is imported it does not.
const GROUPS = DOMAIN.vcpu_groups;
const SIZE = vcpuStruct.size;
const GROUP_SHIFT = Math.log2(VCPUS_PER_GROUP);
const GROUP_MASK = VCPUS_PER_GROUP - 1;

/** Byte offset in bank 0 of the struct of a virtual CPU that the domain has. */
export const vcpuOf = ({ machine, base }: Domain, vcpu: number): number =>
  machine.u32[(base + GROUPS + (vcpu >>> GROUP_SHIFT) * 4) >>> 2]! + (vcpu & GROUP_MASK) * SIZE;

/** Gives a new domain the structs of its virtual CPUs. False when memory is exhausted. */
export function addVcpus({ machine, base, vcpus }: Domain): boolean {
  const { u32 } = machine;
  u32[(base + GROUPS) >>> 2] = base + DOMAIN.vcpus;
  for (let group = 1; group * VCPUS_PER_GROUP < vcpus; group++) {
    const frame = allocXenHeapPage(machine);
    if (frame === INVALID_MFN) return false;
    u32[(base + GROUPS + group * 4) >>> 2] = frameAddress(frame);
  }
  return true;
}

/** Frees what addVcpus() took. */
export function freeVcpus({ machine, base, vcpus }: Domain): void {
  for (let group = 1; group * VCPUS_PER_GROUP < vcpus; group++) {
    const address = machine.u32[(base + GROUPS + group * 4) >>> 2]!;
    if (address !== 0) freeXenHeapPage(machine, address / PAGE_SIZE);
  }
}
