/** HYPERVISOR_xen_version (version.h, features.h). */
import {
  __HYPERVISOR_xen_version,
  XEN_CAPABILITIES_INFO_LEN,
  XEN_CHANGESET_INFO_LEN,
  XEN_EFAULT,
  XEN_EINVAL,
  XEN_ENODATA,
  XEN_ENOSYS,
  XEN_EPERM,
  XEN_EXTRAVERSION_LEN,
  xenCompileInfo,
  XENFEAT_auto_translated_physmap,
  XENFEAT_dom0,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_not_direct_mapped,
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
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { BinaryGuest, guests, kinds, NULL } from './binary-guest.ts';

const ask = (guest: BinaryGuest, cmd: number, arg: number | bigint = NULL): number =>
  guest.hypercall(__HYPERVISOR_xen_version, cmd, arg);

/** Where an answer of so many bytes goes; what is beside it must stay. */
const room = (guest: BinaryGuest, bytes: number) =>
  guest.bytes(new Uint8Array(bytes + 16).fill(0xa5));
const textAt = (guest: BinaryGuest, va: number, bytes: number) =>
  new TextDecoder().decode(guest.read(va, bytes)).replace(/\0.*$/, '');

/** The answers that are text: what is asked, its room, and what is said. */
const texts: readonly [name: string, cmd: number, bytes: number, expected: RegExp][] = [
  ['extraversion', XENVER_extraversion, XEN_EXTRAVERSION_LEN, /^\.\d+$/],
  [
    'capabilities',
    XENVER_capabilities,
    XEN_CAPABILITIES_INFO_LEN,
    /xen-3\.0-x86_64 .*hvm-3\.0-x86_32 /,
  ],
  ['changeset', XENVER_changeset, XEN_CHANGESET_INFO_LEN, /^unavailable$/],
];

describe.each(kinds)('%s, %s', (...kind) => {
  const one = () => guests(kind, 1)[0]!;
  const control = () => new BinaryGuest(one().machine, kind, { privileged: true });

  it('version 4.22', () => expect(ask(one(), XENVER_version)).toBe((4 << 16) | 22));

  it.each(texts)('%s is text, filled up with zeros', (_, cmd, bytes, expected) => {
    const guest = one();
    const va = room(guest, bytes);
    expect(ask(guest, cmd, va)).toBe(0);
    expect(textAt(guest, va, bytes)).toMatch(expected);
    expect(guest.read(va + bytes - 1, 3)).toEqual(new Uint8Array([0, 0xa5, 0xa5]));
  });

  it('compile_info says what this is', () => {
    const guest = one();
    const va = room(guest, xenCompileInfo[kind[1]].size);
    expect(ask(guest, XENVER_compile_info, va)).toBe(0);
    expect(textAt(guest, va, 64)).toBe('TypeScript');
    expect(textAt(guest, va + 64, 16)).toBe('ringside');
    expect([...guest.read(va + xenCompileInfo[kind[1]].size, 1)]).toEqual([0xa5]);
  });

  it('platform_parameters: where Xen’s part of the address space begins', () => {
    const guest = one();
    const va = room(guest, 8);
    expect(ask(guest, XENVER_platform_parameters, va)).toBe(0);
    const virt_start = { x86_64: 0xffff_8000_0000_0000n, i386: 0xf580_0000n }[kind[1]];
    expect(guest.at(xenPlatformParameters, va)).toEqual({ virt_start });
    expect([...guest.read(va + guest.wordBytes, 1)]).toEqual([0xa5]);
  });

  it.each([false, true])('get_features, privileged: %s', (privileged) => {
    const guest = privileged ? control() : one();
    const va = guest.struct(xenFeatureInfo, { submap_idx: 0 });
    expect(ask(guest, XENVER_get_features, va)).toBe(0);
    const expected = [
      ...(kind[0] === 'translated'
        ? [XENFEAT_writable_page_tables, XENFEAT_auto_translated_physmap]
        : [XENFEAT_mmu_pt_update_preserve_ad, XENFEAT_gnttab_map_avail_bits]),
      ...(privileged ? [XENFEAT_dom0] : []),
      XENFEAT_not_direct_mapped,
    ];
    const { submap } = guest.at(xenFeatureInfo, va);
    const bits = Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => (submap >>> bit) & 1);
    expect(bits).toEqual(expected);
  });

  it('there is one submap of features', () => {
    const guest = one();
    for (const submap_idx of [1, 0xffff_ffff]) {
      const va = guest.struct(xenFeatureInfo, { submap_idx });
      expect(ask(guest, XENVER_get_features, va)).toBe(-XEN_EINVAL);
    }
  });

  it('pagesize takes no argument', () => {
    expect(ask(one(), XENVER_pagesize)).toBe(4096);
    expect(ask(one(), XENVER_pagesize, 4096)).toBe(-XEN_EINVAL);
  });

  it('guest_handle: nobody has given the domain one', () => {
    const guest = one();
    const va = room(guest, 16);
    expect(ask(guest, XENVER_guest_handle, va)).toBe(0);
    expect([...guest.read(va, 17)]).toEqual([...Array<number>(16).fill(0), 0xa5]);
  });

  it('the command line is for control domains', () => {
    const machine = guests(kind, 1, { gnttab: { transfer: false, transitive: false } })[0]!.machine;
    const read = (guest: BinaryGuest) => {
      const va = room(guest, 1024);
      expect(ask(guest, XENVER_commandline, va)).toBe(0);
      return textAt(guest, va, 1024);
    };
    expect(read(new BinaryGuest(machine, kind))).toBe('<denied>');
    expect(read(new BinaryGuest(machine, kind, { privileged: true }))).toBe(
      'gnttab=no-transfer,no-transitive',
    );
    expect(read(control())).toBe('');
  });

  it('there is no build id, and not everybody may know', () => {
    expect(ask(one(), XENVER_build_id)).toBe(-XEN_EPERM);
    expect(ask(control(), XENVER_build_id)).toBe(-XEN_ENODATA);
  });

  it('an answer that cannot be written is -EFAULT', () => {
    const guest = one();
    for (const cmd of [
      ...texts.map(([, text]) => text),
      XENVER_compile_info,
      XENVER_platform_parameters,
      XENVER_get_features,
      XENVER_guest_handle,
      XENVER_commandline,
    ]) {
      expect(ask(guest, cmd, guest.window(1))).toBe(-XEN_EFAULT);
      expect(ask(guest, cmd, guest.beforeEnd(3))).toBe(-XEN_EFAULT);
    }
  });

  it.each([11, 99, 0xffff_ffff])('question %i is -ENOSYS', (cmd) => {
    expect(ask(one(), cmd)).toBe(-XEN_ENOSYS);
  });
});
