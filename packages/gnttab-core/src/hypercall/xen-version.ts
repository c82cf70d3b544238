/** HYPERVISOR_xen_version (version.h): what this hypervisor is and can. */
import { XEN_EINVAL, XEN_ENODATA, XEN_ENOSYS, XEN_EPERM } from '../abi/errno.ts';
import type { Initializer, Struct, Table } from '../abi/struct.ts';
import {
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_EXTRAVERSION_LEN,
  xenCompileInfo,
  XENFEAT_auto_translated_physmap,
  XENFEAT_dom0,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_not_direct_mapped,
  XENFEAT_NR_SUBMAPS,
  XENFEAT_writable_page_tables,
  xenFeatureInfo,
  xenPlatformParameters,
  XENVER_build_id,
  XENVER_capabilities,
  XENVER_changeset,
  XENVER_commandline,
  XENVER_compile_info,
  XENVER_extraversion,
  XENVER_get_features,
  XENVER_guest_handle,
  XENVER_pagesize,
  XENVER_platform_parameters,
  XENVER_version,
} from '../abi/version.ts';
import { cacheFlushEnabled, transferEnabled, transitiveEnabled } from '../grant/options.ts';
import type { Domain, Machine } from '../machine/machine.ts';
import { PAGE_SIZE } from '../machine/page.ts';
import type { Caller } from './caller.ts';
import { GuestStruct, HYPERVISOR_VIRT_START } from './guest-handle.ts';
import { type Hypercall, uint, word } from './registers.ts';

/** The interface is that of Xen 4.22. */
const MAJOR = 4;
const MINOR = 22;
const EXTRAVERSION = '.0';
/** Who built it, and of what source: of Xen itself there is nothing here. */
const BUILD = {
  compiler: 'TypeScript',
  compile_by: 'ringside',
  compile_domain: '',
  compile_date: '',
};
const CHANGESET = 'unavailable';
const CAPABILITIES =
  'xen-3.0-x86_64 xen-3.0-x86_32p hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ';
const COMMAND_LINE_LEN = 1024;
/** sizeof(xen_domain_handle_t). */
const DOMAIN_HANDLE_LEN = 16;
/** What an unprivileged domain reads in the place of the command line. */
const DENIED = '<denied>';

/** XENFEAT_* of a domain, as bits. */
function features({ translated, privileged }: Domain): number {
  const bits = translated
    ? [XENFEAT_auto_translated_physmap, XENFEAT_writable_page_tables]
    : [XENFEAT_mmu_pt_update_preserve_ad, XENFEAT_gnttab_map_avail_bits];
  if (privileged) bits.push(XENFEAT_dom0);
  bits.push(XENFEAT_not_direct_mapped);
  return bits.reduce((submap, bit) => submap | (1 << bit), 0) >>> 0;
}

/** The options of the machine as Xen's command line would have them. */
function commandLine(machine: Machine): string {
  const off = [
    ...(transferEnabled(machine) ? [] : ['no-transfer']),
    ...(transitiveEnabled(machine) ? [] : ['no-transitive']),
    ...(cacheFlushEnabled(machine) ? [] : ['no-cache-flush']),
  ];
  return off.length === 0 ? '' : `gnttab=${off.join(',')}`;
}

/** ASCII with a terminating zero, filled up with zeros to `length` bytes. */
function text(value: string, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(new TextEncoder().encode(value).subarray(0, length - 1));
  return bytes;
}

/** xen_version(cmd, arg) for a caller. */
export function xenVersionOp({ domain, access }: Caller): Hypercall {
  const { abi } = access;
  const feature = new GuestStruct(access, xenFeatureInfo[abi]);

  const encoded = <T extends Table>(struct: Struct<T>, value: Initializer<T>): Uint8Array => {
    const bytes = new Uint8Array(struct.size);
    struct.encode(new DataView(bytes.buffer), 0, value);
    return bytes;
  };
  const compileInfo = encoded(xenCompileInfo[abi], {
    compiler: [...text(BUILD.compiler, 64)],
    compile_by: [...text(BUILD.compile_by, 16)],
    compile_domain: [...text(BUILD.compile_domain, 32)],
    compile_date: [...text(BUILD.compile_date, 32)],
  });
  const platform = encoded(xenPlatformParameters[abi], { virt_start: HYPERVISOR_VIRT_START[abi] });
  const shownCommandLine = () =>
    domain.privileged
      ? text(commandLine(domain.machine), COMMAND_LINE_LEN)
      : text(DENIED, DENIED.length + 1);

  /** The answers that are written to guest memory. */
  const answers = new Map<number, () => Uint8Array>([
    [XENVER_extraversion, () => text(EXTRAVERSION, XEN_EXTRAVERSION_LEN)],
    [XENVER_compile_info, () => compileInfo],
    [XENVER_capabilities, () => text(CAPABILITIES, XEN_CAPABILITIES_INFO_LEN)],
    [XENVER_changeset, () => text(CHANGESET, XEN_CHANGESET_INFO_LEN)],
    [XENVER_platform_parameters, () => platform],
    [XENVER_guest_handle, () => new Uint8Array(DOMAIN_HANDLE_LEN)],
    [XENVER_commandline, shownCommandLine],
  ]);

  return ([cmdRegister, argRegister]) => {
    const arg = word(argRegister, abi);
    const cmd = uint(cmdRegister);
    switch (cmd) {
      case XENVER_version:
        return (MAJOR << 16) | MINOR;
      case XENVER_pagesize:
        return arg === 0 ? PAGE_SIZE : -XEN_EINVAL;
      case XENVER_get_features: {
        const fields = feature.read(arg);
        if (fields.submap_idx >= XENFEAT_NR_SUBMAPS) return -XEN_EINVAL;
        fields.submap = features(domain);
        feature.write(arg);
        return 0;
      }
      case XENVER_build_id:
        return domain.privileged ? -XEN_ENODATA : -XEN_EPERM;
      default: {
        const answer = answers.get(cmd);
        if (answer === undefined) return -XEN_ENOSYS;
        access.write(arg, answer());
        return 0;
      }
    }
  };
}
