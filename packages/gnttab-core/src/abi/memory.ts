/** memory.h: the operations of memory_op that change or describe a domain's memory. */
import { pointer, structs, u16, u32, u64, ulong, unions } from './struct.ts';

/** memory.h, memory_op: change a domain's reservation. */
export const XENMEM_increase_reservation = 0;
export const XENMEM_decrease_reservation = 1;
export const XENMEM_populate_physmap = 6;
export const XENMEM_exchange = 11;

/** memory.h, xen_memory_reservation `mem_flags`: bits above address width and node. */
export const XENMEMF_populate_on_demand = 0x1_0000;
export const XENMEMF_exact_node_request = 0x2_0000;
export const XENMEMF_vnode = 0x4_0000;

/** xen_memory_reservation, memory.h: extents of 2^extent_order pages; the call returns how many it did. */
export const xenMemoryReservation = structs(
  'xen_memory_reservation',
  { extent_start: pointer, nr_extents: ulong, extent_order: u32, mem_flags: u32, domid: u16 },
  { x86_64: 32, i386: 20 },
);

/** xen_memory_exchange, memory.h: give frames up for others, all or as many as `nr_exchanged` says. */
export const xenMemoryExchange = structs(
  'xen_memory_exchange',
  { in: xenMemoryReservation, out: xenMemoryReservation, nr_exchanged: ulong },
  { x86_64: 72, i386: 44 },
);

/** memory.h, memory_op: ask how much memory there is. The last three take a xen_memory_domain. */
export const XENMEM_maximum_ram_page = 2;
export const XENMEM_current_reservation = 3;
export const XENMEM_maximum_reservation = 4;
export const XENMEM_maximum_gpfn = 14;

/** xen_memory_domain, memory.h: whose memory is asked about. */
export const xenMemoryDomain = structs('xen_memory_domain', { domid: u16 }, 2);

/** memory.h, memory_op: where the machine-to-physical table is. */
export const XENMEM_machphys_mfn_list = 5;
export const XENMEM_machphys_compat_mfn_list = 25;
export const XENMEM_machphys_mapping = 12;

/** xen_machphys_mfn_list, memory.h: the frames of the machine-to-physical table. */
export const xenMachphysMfnList = structs(
  'xen_machphys_mfn_list',
  { max_extents: u32, extent_start: pointer, nr_extents: u32 },
  { x86_64: 24, i386: 12 },
);

/** xen_machphys_mapping, memory.h: the virtual addresses of the machine-to-physical table. */
export const xenMachphysMapping = structs(
  'xen_machphys_mapping',
  { v_start: ulong, v_end: ulong, max_mfn: ulong },
  { x86_64: 24, i386: 12 },
);

/** memory.h, memory_op: change a translated domain's physical map. */
export const XENMEM_add_to_physmap = 7;
export const XENMEM_add_to_physmap_batch = 23;
export const XENMEM_remove_from_physmap = 15;

/** memory.h, XENMAPSPACE_*: what kind of page to put into the physical map. */
export const XENMAPSPACE_shared_info = 0;
export const XENMAPSPACE_grant_table = 1;
export const XENMAPSPACE_gmfn = 2;
export const XENMAPSPACE_gmfn_range = 3;
export const XENMAPSPACE_gmfn_foreign = 4;
export const XENMAPSPACE_dev_mmio = 5;

/** memory.h, add_to_physmap: `idx` counts status frames instead of grant frames. */
export const XENMAPIDX_grant_table_status = 0x8000_0000;

/** xen_add_to_physmap, memory.h: put one page (or a range) at `gpfn`. */
export const xenAddToPhysmap = structs(
  'xen_add_to_physmap',
  { domid: u16, size: u16, space: u32, idx: ulong, gpfn: ulong },
  { x86_64: 24, i386: 16 },
);

/** xen_add_to_physmap_batch_extra, memory.h: the other domain, for XENMAPSPACE_gmfn_foreign. */
export const xenAddToPhysmapBatchExtra = unions(
  'xen_add_to_physmap_batch_extra',
  { foreign_domid: u16, res0: u16 },
  2,
);

/** xen_add_to_physmap_batch, memory.h: put `size` pages, each with its own index, place and error. */
export const xenAddToPhysmapBatch = structs(
  'xen_add_to_physmap_batch',
  {
    domid: u16,
    space: u16,
    size: u16,
    u: xenAddToPhysmapBatchExtra,
    idxs: pointer,
    gpfns: pointer,
    errs: pointer,
  },
  { x86_64: 32, i386: 20 },
);

/** xen_remove_from_physmap, memory.h: leave `gpfn` empty. */
export const xenRemoveFromPhysmap = structs(
  'xen_remove_from_physmap',
  { domid: u16, gpfn: ulong },
  { x86_64: 16, i386: 8 },
);

/** memory.h, memory_op: the memory map that firmware would give. */
export const XENMEM_memory_map = 9;
export const XENMEM_machine_memory_map = 10;
export const XENMEM_set_memory_map = 13;

/** xen_memory_map, memory.h: a buffer for E820 entries. */
export const xenMemoryMap = structs(
  'xen_memory_map',
  { nr_entries: u32, buffer: pointer },
  { x86_64: 16, i386: 8 },
);

/** memory.h, memory_op: a domain that starts with less memory than it believes. */
export const XENMEM_set_pod_target = 16;
export const XENMEM_get_pod_target = 17;

/** xen_pod_target, memory.h: populate-on-demand, in pages. */
export const xenPodTarget = structs(
  'xen_pod_target',
  {
    target_pages: u64,
    tot_pages: u64,
    pod_cache_pages: u64,
    pod_entries: u64,
    domid: u16,
  },
  { x86_64: 40, i386: 36 },
);

/** memory.h, memory_op: map what belongs to no guest, such as another domain's grant table. */
export const XENMEM_acquire_resource = 28;
export const XENMEM_resource_ioreq_server = 0;
export const XENMEM_resource_grant_table = 1;
export const XENMEM_resource_vmtrace_buf = 2;
export const XENMEM_resource_grant_table_id_shared = 0;
export const XENMEM_resource_grant_table_id_status = 1;
export const XENMEM_resource_ioreq_server_frame_bufioreq = 0;

/** xen_mem_acquire_resource, memory.h: frames of a resource, from `frame` on. */
export const xenMemAcquireResource = structs(
  'xen_mem_acquire_resource',
  {
    domid: u16,
    type: u16,
    id: u32,
    nr_frames: u32,
    pad: u32,
    frame: u64,
    frame_list: pointer,
  },
  { x86_64: 32, i386: 28 },
);
