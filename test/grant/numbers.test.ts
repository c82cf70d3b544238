/** The typed calls take JavaScript numbers: what is no 32-bit (or 16-bit) number of the ABI names nothing. */
import {
  createMachine,
  createDomain,
  GnttabUnmapGrantRef,
  HypercallDoor,
  type DoorOptions,
  PAGE_SIZE,
} from '@ringside/gnttab-core';
import {
  GNTMAP_host_map,
  GNTST_bad_copy_arg,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_bad_page,
  GNTST_general_error,
  GNTST_okay,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { checkMaptrack } from './invariants.ts';
import { windowOf, World } from './world.ts';

const REF = 8;
const odd = [-1, -8, 0.5, 8.5, 2 ** 32 + 8, -(2 ** 31), Number.NaN, Infinity, 2 ** 53];

function granted(type: 'pv' | 'translated' = 'pv') {
  const world = new World();
  const [granter, mapper, other] = [world.domain(), world.domain({ type }), world.domain()];
  granter.entry(REF, { flags: GTF_permit_access, domid: mapper.id, frame: granter.frame(0) });
  const local = { gmfn: mapper.frame(0) };
  const remote = { ref: REF, domid: granter.id };
  return { granter, mapper, other, local, remote };
}

describe.each(odd)('%d', (number) => {
  it('is no reference to map', () => {
    const { granter, mapper } = granted();
    const op = {
      dom: granter.id,
      ref: number,
      flags: GNTMAP_host_map,
      hostAddr: windowOf(mapper.domain),
    };
    expect(mapper.map(op).status).toBe(GNTST_bad_gntref);
    checkMaptrack(mapper, []);
  });

  it('is no reference to copy from, and a later call finds nothing held', () => {
    const { granter, mapper, local, remote } = granted();
    const copy = (from: typeof remote) => mapper.copy(from, local, 16);
    expect(copy({ ref: number, domid: granter.id })).toBe(GNTST_bad_gntref);
    expect(copy(remote)).toBe(GNTST_okay);
    expect(granter.flags(REF)).toBe(GTF_permit_access);
  });

  it('is no handle', () => {
    const { granter, mapper } = granted();
    const at = windowOf(mapper.domain);
    mapper.map({ dom: granter.id, ref: REF, flags: GNTMAP_host_map, hostAddr: at });
    const op = Object.assign(new GnttabUnmapGrantRef(), { hostAddr: at, handle: number });
    mapper.hypercalls.gnttabUnmap([op]);
    expect(op.status).toBe(GNTST_bad_handle);
    expect(granter.pin(REF).hstw).toBe(1);
  });

  it('is no reference to swap, no reference to accept with', () => {
    const { granter, mapper, other } = granted();
    expect(granter.swap(REF, number)).toBe(GNTST_bad_gntref);
    const mfn = mapper.detach(3);
    expect(mapper.transfer({ mfn, domid: other.id, ref: number })).toBe(GNTST_general_error);
  });

  it('is no offset and no length: nothing past the page is touched', () => {
    const { mapper, local, remote } = granted();
    const at = (offset: number) => mapper.copy({ ...remote, offset }, local, 1);
    expect(at(number)).toBe(GNTST_bad_copy_arg);
    expect(mapper.copy(remote, local, number)).toBe(GNTST_bad_copy_arg);
    expect(mapper.copy(remote, { ...local, offset: number }, 1)).toBe(GNTST_bad_copy_arg);
  });

  it.each(['pv', 'translated'] as const)('is no frame of a %s domain', (type) => {
    const { mapper, remote, other } = granted(type);
    expect(mapper.machine.pageInfo(number)).toBe(0);
    expect(mapper.copy(remote, { gmfn: number }, PAGE_SIZE)).toBe(GNTST_bad_page);
    expect(mapper.transfer({ mfn: number, domid: other.id, ref: REF })).toBe(GNTST_bad_page);
  });
});

describe('a door', () => {
  it.each([
    [{ abi: 'arm' as 'i386' }, 'abi arm: allowed are x86_64 and i386'],
    [{ vcpu: 1 }, 'virtual CPU 1: domain 1 has 1'],
    [{ vcpu: -1 }, 'virtual CPU -1: domain 1 has 1'],
    [{ vcpu: 0.5 }, 'virtual CPU 0.5: domain 1 has 1'],
  ] satisfies [DoorOptions, string][])('%o is refused: %s', (options, message) => {
    const machine = createMachine();
    createDomain(machine, { pages: 1 });
    const domain = createDomain(machine, { pages: 1 });
    expect(() => new HypercallDoor(domain, options)).toThrow(new RangeError(message));
  });
});
