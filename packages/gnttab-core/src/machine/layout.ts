/**
 * The hypervisor's own structs, all in bank 0. Field names follow Xen's private structs
 * (struct page_info, struct domain, struct grant_table) where there is one.
 */
import { array, i32, struct, u16, u32, u64 } from '../abi/struct.ts';
import { EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_NR_CHANNELS } from '../abi/event-channel.ts';
import { NR_VIRQS } from '../abi/xen.ts';
import { counterNames } from './counters.ts';

/** No frame: the end of a list, an empty p2m slot. */
export const INVALID_MFN = 0xffff_ffff;

/** What the machine knows of one bank. */
export const bankEntry = struct('bank_entry', {
  pages: u32,
  /** Byte offset in bank 0 of this bank's frame table. */
  frame_table: u32,
  /** Bank indices are handed out once; a foreign bank's frames are never allocated from. */
  flags: u32,
  pad: u32,
});
export const MAX_BANKS = 128;

/** The first page of bank 0. */
export const machineHeader = struct('machine_header', {
  magic: u32,
  layout_version: u32,
  nr_banks: u32,
  /** Guards the free list below. */
  heap_lock: i32,
  /** First of the frames that were freed, linked through page_info.next. */
  free_head: u32,
  /** Frames from here to the end of bank 0 were never handed out. */
  unused_from: u32,
  free_pages: u32,
  /** Byte offset of the table of domain structs, one u32 for each domain id. */
  domain_table: u32,
  /** Byte offset and number of records of the trace ring; 0 records is none. */
  trace: u32,
  trace_records: u32,
  next_domid: u32,
  /** Domains created so far. */
  next_serial: u32,
  /** Time limits put on grants so far. */
  grant_limits: u32,
  /** MACHINE_*. */
  flags: u32,
  /** Pages that may still be allocated for the hypervisor, and for domains; NO_QUOTA is as many as there are. */
  xen_heap_quota: u32,
  domain_heap_quota: u32,
  /** dummy_vcpu_info: where virtual CPUs without a vcpu_info of their own share one. */
  dummy_vcpu_info: array(u32, 16),
  /** Domain id of the hardware domain, which has the global VIRQs that no other handles; DOMID_INVALID is none. */
  hardware_domain: u32,
  /** Guards the handlers below, against binding. */
  global_virq_lock: i32,
  /** Domain ids of the handlers of global VIRQs; DOMID_INVALID is the hardware domain. */
  global_virq_handlers: array(u32, NR_VIRQS),
  banks: array(bankEntry, MAX_BANKS),
});
export const NO_QUOTA = 0xffff_ffff;
/** machineHeader.flags: more than one handle is attached, so every change of a shared word is atomic. */
export const MACHINE_smp = 1;
/** machineHeader.flags: Xen's command line `gnttab=no-transfer`, `no-transitive`, and no GNTTABOP_cache_flush. */
export const MACHINE_no_transfer = 2;
export const MACHINE_no_transitive = 4;
export const MACHINE_no_cache_flush = 8;
export const MACHINE_MAGIC = 0x4773_6e52; // "RnsG"
export const LAYOUT_VERSION = 3;

/** struct page_info: owner and reference counts of one frame. */
export const pageInfo = struct(
  'page_info',
  {
    /** PGC_*: allocated, xen heap, and the number of references. */
    count_info: i32,
    /** PGT_*: the type, and the number of references of that type. */
    type_info: i32,
    owner: u16,
    flags: u16,
    /** Machine-to-physical: the owner's frame number, INVALID_M2P_ENTRY if none. */
    gfn: u32,
    /** Links of the owner's page list, or of the free list. */
    next: u32,
    prev: u32,
  },
  { size: 24 },
);

/** page_info.count_info: the allocation itself holds one reference. */
export const PGC_allocated = 0x4000_0000;
/** A frame of the hypervisor's own, shared with a guest perhaps, never given away. */
export const PGC_xen_heap = 0x2000_0000;
export const PGC_count_mask = 0x03ff_ffff;

/** page_info.type_info: types a frame can have while references of that type exist. */
export const PGT_l1_page_table = 0x1000_0000;
export const PGT_writable_page = 0x2000_0000;
export const PGT_type_mask = 0x7000_0000;
export const PGT_count_mask = 0x03ff_ffff;

/** struct grant_table: one for each domain, inside its struct domain. */
export const grantTable = struct('grant_table', {
  /** The rwlock over everything below; see docs/misc/grant-tables.txt of Xen, "Locking". */
  lock: i32,
  version: u32,
  /** Highest version that set_version may choose. */
  max_version: u32,
  nr_grant_frames: u32,
  max_grant_frames: u32,
  /** Frame (of the Xen heap) that lists the shared frames, one u32 each. */
  shared_list: u32,
  /** Frame that lists the frames of active entries. */
  active_list: u32,
  nr_active_frames: u32,
  /** Version 2: frame that lists the status frames. */
  status_list: u32,
  nr_status_frames: u32,
  /** Guards the growth of the map track. */
  maptrack_lock: i32,
  nr_maptrack_frames: u32,
  max_maptrack_frames: u32,
  maptrack_list: u32,
});

/** Virtual CPUs that a domain can have (HVM_MAX_VCPUS). */
export const MAX_VCPUS = 128;
/** Event words in a page of the event array. */
export const EVENT_WORDS_PER_PAGE = 1024;

/** The event channel part of struct domain. */
export const eventChannels = struct('event_channels', {
  /** event_lock: guards allocation and binding; each port has a lock of its own for delivery. */
  lock: i32,
  /** Ports below this have been allocated once ("valid"), 64 at a time. */
  valid_evtchns: u32,
  max_evtchn_port: u32,
  /** No port below is free: a search begins here. */
  first_free: u32,
  /** Frame that lists the frames of port structs. */
  bucket_list: u32,
  /** Ports in use, and how many of them Xen consumes. */
  active_evtchns: u32,
  xen_evtchns: u32,
  /** Where a pre-empted reset goes on; 0 if none is under way. */
  next_evtchn: u32,
  /** A bit for each virtual CPU that polls. */
  poll_mask: array(u32, MAX_VCPUS / 32),
  /** FIFO delivery is in use. */
  fifo: u32,
  /** FIFO: ports that have an event word, and the frames of the event array. */
  num_evtchns: u32,
  event_array: array(u32, EVTCHN_FIFO_NR_CHANNELS / EVENT_WORDS_PER_PAGE),
});

/** A queue of FIFO delivery. Its head is in the guest's control block. */
export const fifoQueue = struct('evtchn_fifo_queue', {
  lock: i32,
  /** The port that was queued last; 0 is none. */
  tail: u32,
});

/** struct vcpu. */
export const vcpuStruct = struct('vcpu', {
  /** Its free handles form a queue, whose last one is never given out. */
  maptrack_freelist_lock: i32,
  maptrack_head: u32,
  maptrack_tail: u32,
  /** VPF_*. */
  pause_flags: i32,
  /** The one port that it polls, -1 if it polls several or none, 0 if it does not poll. */
  poll_evtchn: i32,
  /** Polls so far, to know a timeout that is too late. */
  polls: u32,
  /** Frame and offset of its vcpu_info. */
  vcpu_info_frame: u32,
  vcpu_info_offset: u16,
  /** FIFO: offset and frame of its control block; frame 0 is none. */
  control_offset: u16,
  control_frame: u32,
  /** vcpu_info_area.pg: the frame that the guest has registered for its vcpu_info, 0 if it has not. */
  vcpu_info_area: u32,
  /** Guards what follows, against delivery. */
  virq_lock: i32,
  /** The port that each VIRQ is bound to, 0 if none; all but those of each virtual CPU are bound on the first. */
  virq_to_evtchn: array(u32, NR_VIRQS),
  queue: array(fifoQueue, EVTCHN_FIFO_MAX_QUEUES),
});
/** vcpuStruct.pause_flags: it waits for an event. */
export const VPF_blocked = 1;
/** Virtual CPUs whose structs lie together. */
export const VCPUS_PER_GROUP = 8;

/** struct domain. Fills at most the one frame it lives in. */
export const domainStruct = struct('domain', {
  domid: u16,
  flags: u16,
  /** DOMDYING_*. */
  is_dying: u32,
  page_alloc_lock: i32,
  tot_pages: u32,
  max_pages: u32,
  page_list: u32,
  /** Not in Xen: frames of Xen's that live by their references alone (private copies of pages taken back). */
  private_copies: u32,
  /** Root of the p2m: a frame of 1024 frame numbers. */
  p2m_root: u32,
  /** PV: root of the page table, a frame that lists the L1 tables. */
  pt_root: u32,
  /** PV: the page table covers virtual addresses from here on. */
  va_base: u32,
  shared_info: u32,
  nr_vcpus: u32,
  /** No two domains of a machine have the same. */
  serial: u32,
  grant_table: grantTable,
  evtchn: eventChannels,
  /** Widest machine address of a frame that the domain can take (XEN_DOMCTL_set_address_size), in bits; 0 is any. */
  address_bits: u32,
  /** XEN_DOMCTL_set_target: `serial` of the domain that this one is the device model of, NO_TARGET if none. */
  target: u32,
  /** domain_pause_by_systemcontroller(): pauses by the toolstack. */
  controller_pause_count: u32,
  /** SHUTDOWN_*, once it was shut down. */
  shutdown_code: u32,
  /** Where each group of structs vcpu begins in bank 0. The first group is here, others have frames of their own. */
  vcpu_groups: array(u32, MAX_VCPUS / VCPUS_PER_GROUP),
  vcpus: array(vcpuStruct, VCPUS_PER_GROUP),
  counters: array(u64, counterNames.length),
});

/** Byte offsets of the members of struct domain. */
export const DOMAIN = domainStruct.offset;

/** domainStruct.flags. */
export const DOMAIN_translated = 1;
export const DOMAIN_privileged = 2;
/** domain_crash(): it runs no more. */
export const DOMAIN_crashed = 4;
/** Overwriting a page table entry of a foreign frame releases its mapping, as Xen did when the usage document was written. */
export const DOMAIN_unmap_on_overwrite = 8;
/** It has mapped a grant of its own at least once. */
export const DOMAIN_maps_itself = 16;

/** Its shared info page is laid out for i386 (has_32bit_shinfo). */
export const DOMAIN_i386 = 32;
/** domain_shutdown(): it has stopped, and says why in `shutdown_code`. */
export const DOMAIN_shut_down = 64;

/** domainStruct.target. */
export const NO_TARGET = 0xffff_ffff;

/** domainStruct.is_dying. */
export const DOMDYING_alive = 0;
export const DOMDYING_dying = 1;
