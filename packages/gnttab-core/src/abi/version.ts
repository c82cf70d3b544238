/** version.h and features.h: what xen_version answers. */
import { array, structs, u32, u8, ulong } from './struct.ts';

/** version.h, xen_version: what is asked. */
export const XENVER_version = 0;
export const XENVER_extraversion = 1;
export const XENVER_compile_info = 2;
export const XENVER_capabilities = 3;
export const XENVER_changeset = 4;
export const XENVER_platform_parameters = 5;
export const XENVER_get_features = 6;
export const XENVER_pagesize = 7;
export const XENVER_guest_handle = 8;
export const XENVER_commandline = 9;
export const XENVER_build_id = 10;

/** version.h: lengths of the answers that are text, in bytes. */
export const XEN_EXTRAVERSION_LEN = 16;
export const XEN_CAPABILITIES_INFO_LEN = 1024;
export const XEN_CHANGESET_INFO_LEN = 64;

/** xen_compile_info, version.h: who built this Xen, with what, when. */
export const xenCompileInfo = structs(
  'xen_compile_info',
  {
    compiler: array(u8, 64),
    compile_by: array(u8, 16),
    compile_domain: array(u8, 32),
    compile_date: array(u8, 32),
  },
  144,
);

/** xen_platform_parameters, version.h: where Xen's part of the address space begins. */
export const xenPlatformParameters = structs(
  'xen_platform_parameters',
  { virt_start: ulong },
  { x86_64: 8, i386: 4 },
);

/** xen_feature_info, version.h: 32 feature bits; feature n is bit n % 32 of submap n / 32. */
export const xenFeatureInfo = structs('xen_feature_info', { submap_idx: u32, submap: u32 }, 8);

/** features.h: feature bits. */
export const XENFEAT_writable_page_tables = 0;
export const XENFEAT_writable_descriptor_tables = 1;
export const XENFEAT_auto_translated_physmap = 2;
export const XENFEAT_supervisor_mode_kernel = 3;
export const XENFEAT_pae_pgdir_above_4gb = 4;
export const XENFEAT_mmu_pt_update_preserve_ad = 5;
export const XENFEAT_highmem_assist = 6;
export const XENFEAT_gnttab_map_avail_bits = 7;
export const XENFEAT_hvm_callback_vector = 8;
export const XENFEAT_hvm_safe_pvclock = 9;
export const XENFEAT_hvm_pirqs = 10;
export const XENFEAT_dom0 = 11;
export const XENFEAT_memory_op_vnode_supported = 13;
export const XENFEAT_ARM_SMCCC_supported = 14;
export const XENFEAT_linux_rsdp_unrestricted = 15;
export const XENFEAT_not_direct_mapped = 16;
export const XENFEAT_direct_mapped = 17;
export const XENFEAT_NR_SUBMAPS = 1;
