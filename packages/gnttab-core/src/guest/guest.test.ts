import { describe, expect, it } from 'vitest';
import {
  bootGuest,
  createDomain,
  createMachine,
  freePages,
  type Guest,
  GnttabCopy,
  GnttabTransfer,
  GrantError,
  type GrantVersion,
  PageFault,
  port,
  referenceCount,
} from '../index.ts';
import { GNTCOPY_dest_gref, GNTCOPY_source_gref, GNTST_bad_page } from '../abi/grant-table.ts';
import { DOMID_SELF } from '../abi/xen.ts';

function pair(type: 'pv' | 'translated' = 'pv', seed?: number) {
  const machine = createMachine({ memoryPages: 2048, seed });
  const a = bootGuest(createDomain(machine, { pages: 64, privileged: true }));
  const b = bootGuest(createDomain(machine, { pages: 64, type }));
  return { machine, a, b };
}
const text = (value: string) => new TextEncoder().encode(value);
const read = (guest: Guest, va: number, length: number) => {
  const bytes = new Uint8Array(length);
  guest.memory.read(va, bytes);
  return new TextDecoder().decode(bytes);
};

describe.each(['pv', 'translated'] as const)('sharing a page with a %s guest', (type) => {
  it('maps what was granted, sees writes, and refuses to end before the unmap', () => {
    const { a, b } = pair(type);
    const page = b.memory.allocPage();
    b.memory.write(page.va, text('granted'));
    const ref = b.grants.grantForeignAccess(a.id, page);
    const mapping = a.mappings.map(b.id, ref);
    expect(read(a, mapping.va, 7)).toBe('granted');
    a.memory.write(mapping.va, text('written'));
    expect(read(b, page.va, 7)).toBe('written');
    expect(b.grants.queryForeignAccess(ref)).toEqual({ reading: true, writing: true });
    expect(b.grants.endForeignAccess(ref)).toBe('busy');
    mapping.unmap();
    expect(() => a.memory.read(mapping.va, new Uint8Array(1))).toThrow(PageFault);
    expect(b.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('faults a write through a read-only mapping and refuses a writable one', () => {
    const { a, b } = pair(type);
    const ref = b.grants.grantForeignAccess(a.id, b.memory.allocPage(), { readonly: true });
    using mapping = a.mappings.map(b.id, ref, { readonly: true });
    expect(() => a.memory.write(mapping.va, text('x'))).toThrow(/read-only/);
    expect(() => a.mappings.map(b.id, ref)).toThrow(GrantError);
  });

  it('is mapped by a guest of that type as well', () => {
    const { a, b } = pair(type);
    const page = a.memory.allocPage();
    a.memory.write(page.va, text('from a'));
    const ref = a.grants.grantForeignAccess(b.id, page);
    {
      using mapping = b.mappings.map(a.id, ref);
      expect(read(b, mapping.va, 6)).toBe('from a');
    }
    expect(a.grants.endForeignAccess(ref)).toBe('ended');
  });

  it('copies between a grant and an own page', () => {
    const { a, b } = pair(type);
    const source = b.memory.allocPage();
    const target = a.memory.allocPage();
    b.memory.write(source.va, text('copied across'));
    const op = new GnttabCopy();
    op.source.ref = b.grants.grantForeignAccess(a.id, source, { readonly: true });
    op.source.domid = b.id;
    op.source.offset = 7;
    op.dest.gmfn = a.memory.frameOf(target);
    op.dest.domid = DOMID_SELF;
    op.dest.offset = 100;
    op.len = 6;
    op.flags = GNTCOPY_source_gref;
    a.hypercalls.gnttabCopy([op]);
    expect(op.status).toBe(0);
    expect(read(a, target.va + 100, 6)).toBe('across');
    op.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
    a.hypercalls.gnttabCopy([op]);
    expect(op.status).not.toBe(0);
    expect(b.grants.queryForeignAccess(op.source.ref as never)).toEqual({
      reading: false,
      writing: false,
    });
  });

  it('accepts a transferred frame', () => {
    const { machine, a, b } = pair(type);
    const place = b.memory.allocPage();
    b.memory.surrender([place]);
    const ref = b.grants.grantForeignTransfer(a.id, place.gfn);
    const page = a.memory.allocPage();
    a.memory.write(page.va, text('flipped'));
    const op = new GnttabTransfer();
    op.mfn = a.memory.mfnOf(page);
    op.domid = b.id;
    op.ref = ref;
    a.hypercalls.gnttabTransfer([op]);
    expect(op.status).toBe(GNTST_bad_page); // still mapped by its owner
    a.memory.detachForTransfer(page);
    a.hypercalls.gnttabTransfer([op]);
    expect(op.status).toBe(0);
    const frame = b.grants.endForeignTransfer(ref)!;
    b.memory.adopt(place, frame);
    expect(read(b, place.va, 7)).toBe('flipped');
    expect(a.domain.totPages).toBe(63);
    expect(a.memory.refill([page])).toBe(1);
    expect(read(a, page.va, 7)).toBe('\0'.repeat(7));
    expect(referenceCount(machine, a.memory.mfnOf(page))).toBe(2);
  });
});

describe('event channels', () => {
  it('delivers after the spurious first event', async () => {
    const { a, b } = pair('pv', 3);
    const mine = a.events.allocUnbound(b.id);
    const theirs = b.events.bindInterdomain(a.id, mine.port);
    const seen: string[] = [];
    mine.events$.subscribe(() => seen.push('a'));
    theirs.events$.subscribe(() => seen.push('b'));
    await a.machine.scheduler.sleep(1e6);
    expect(seen).toEqual(['b']);
    mine.notify();
    await a.machine.scheduler.sleep(1e6);
    expect(seen).toEqual(['b', 'b']);
    theirs.mask();
    mine.notify();
    await a.machine.scheduler.sleep(1e6);
    expect(seen).toEqual(['b', 'b']);
    theirs.unmask();
    await a.machine.scheduler.sleep(1e6);
    expect(seen).toEqual(['b', 'b', 'b']);
    expect(() => b.events.bindInterdomain(a.id, port(77))).toThrow(/EINVAL/);
  });
});

it('leaves nothing behind when its domains are gone', async () => {
  const { destroyDomain } = await import('../index.ts');
  const machine = createMachine({ memoryPages: 2048 });
  const before = freePages(machine);
  const a = bootGuest(createDomain(machine, { pages: 64 }));
  const b = bootGuest(createDomain(machine, { pages: 64 }));
  const ref = b.grants.grantForeignAccess(a.id, b.memory.allocPage());
  const mapping = a.mappings.map(b.id, ref);
  destroyDomain(b.domain);
  expect(machine.domainById(b.id)?.totPages).toBe(1);
  mapping.unmap();
  expect(machine.domainById(b.id)).toBeUndefined();
  destroyDomain(a.domain);
  expect(freePages(machine)).toBe(before);
});

describe('bootGuest', () => {
  it.each([0, 3, 1.5, NaN, '2', null])(
    'with grantVersion %s throws RangeError, which says what is allowed, and has done nothing',
    (grantVersion) => {
      const domain = createDomain(createMachine({ memoryPages: 512, seed: 1 }), { pages: 16 });
      const hypercalls = domain.counters().hypercalls;
      const boot = () => bootGuest(domain, { grantVersion: grantVersion as GrantVersion });
      expect(boot).toThrow(RangeError);
      expect(boot).toThrow(`grantVersion ${grantVersion}: it may be 1 or 2`);
      expect(domain.counters().hypercalls).toBe(hypercalls);
    },
  );
});
