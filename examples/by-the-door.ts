/**
 * A guest that is not written in TypeScript, as the hypervisor sees it: `npx -y pnpm tsx examples/by-the-door.ts`
 *
 * It has memory of its own (here a plain ArrayBuffer; a WebAssembly memory or an emulator's RAM is the same), makes its
 * hypercalls with numbers in registers, and lays its argument structs out as the public headers say, for i386.
 */
import { bootGuest, createDomain, createMachine, HypercallDoor } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_grant_table_op,
  __HYPERVISOR_xen_version,
  DOMID_SELF,
  GNTCOPY_source_gref,
  gnttabCopy,
  gnttabErrorMessage,
  gnttabMapGrantRef,
  GNTTABOP_copy,
  GNTTABOP_map_grant_ref,
  GNTTABOP_unmap_grant_ref,
  gnttabUnmapGrantRef,
  GNTMAP_host_map,
  XENVER_version,
} from '@ringside/gnttab-core/abi';

const PAGES = 16;
const machine = createMachine({ seed: 1 });
const other = bootGuest(createDomain(machine, { pages: 64 }));

// Guest-physical address n is byte n of its buffer.
const buffer = new ArrayBuffer(PAGES * 4096);
const memory = new DataView(buffer);
const bank = machine.addForeignBank({ buffer });
const guest = createDomain(machine, { pages: PAGES, type: 'translated', bank });
const door = new HypercallDoor(guest, { abi: 'i386' });

const version = door.hypercall(__HYPERVISOR_xen_version, XENVER_version);
console.log(`it runs on Xen ${version >> 16}.${version & 0xffff}`);

// The other guest, which is TypeScript, grants it a page.
const page = other.memory.allocPage();
const ref = other.grants.grantForeignAccess(guest.id, page);
other.memory.write(page.va, new TextEncoder().encode('seen through the door'));

/** Where it keeps its argument, and a hypercall with that. */
const ARGUMENT = 0x2000;
const call = (op: number, pointer = ARGUMENT) =>
  door.hypercall(__HYPERVISOR_grant_table_op, op, pointer, 1);

// Its page 3 gets a copy.
gnttabCopy.i386.encode(memory, ARGUMENT, {
  source: { u: { ref }, domid: other.id },
  dest: { u: { gmfn: 3n }, domid: DOMID_SELF },
  len: 21,
  flags: GNTCOPY_source_gref,
});
call(GNTTABOP_copy);
console.log(`copied: "${new TextDecoder().decode(new Uint8Array(buffer, 3 * 4096, 21))}"`);

/** An address beyond its RAM, where it wants the page itself. */
const WINDOW = 0x10_0000;
const map = gnttabMapGrantRef.i386;
const request = { host_addr: BigInt(WINDOW), flags: GNTMAP_host_map, ref, dom: other.id };
map.encode(memory, ARGUMENT, request);
const mapResult = call(GNTTABOP_map_grant_ref);
const mapped = map.decode(memory, ARGUMENT);
console.log(`map: ${mapResult}, status "${gnttabErrorMessage(mapped.status)}"`);
console.log(`handle ${mapped.handle}, bus address 0x${mapped.dev_bus_addr.toString(16)}`);
console.log(`the other guest ends the grant: ${other.grants.endForeignAccess(ref)}`);

const unmap = gnttabUnmapGrantRef.i386;
unmap.encode(memory, ARGUMENT, { host_addr: BigInt(WINDOW), handle: mapped.handle });
const unmapResult = call(GNTTABOP_unmap_grant_ref);
const { status } = unmap.decode(memory, ARGUMENT);
console.log(`unmap: ${unmapResult}, status "${gnttabErrorMessage(status)}"`);
console.log(`and again: ${other.grants.endForeignAccess(ref)}`);

console.log(`a pointer to nowhere: ${call(GNTTABOP_map_grant_ref, 0x7fff_0000)} (-EFAULT)`);
