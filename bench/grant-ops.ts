/**
 * Each grant operation alone and in batches of 32, in nanoseconds and against the bare copy of a page. On a machine that
 * this thread has for itself, and on one that others could be attached to, where every step is atomic.
 */
import {
  createDomain,
  createMachine,
  type Domain,
  GnttabCopy,
  GnttabMapGrantRef,
  GnttabTransfer,
  GnttabUnmapGrantRef,
  Hypercalls,
  type Machine,
  PAGE_SIZE,
  PV_VA_BASE,
} from '@ringside/gnttab-core';
import {
  DOMID_SELF,
  GNTCOPY_dest_gref,
  GNTCOPY_source_gref,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GTF_accept_transfer,
  GTF_permit_access,
} from '@ringside/gnttab-core/abi';
import { gfnToMfn, sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { inTurn, type Result, slower } from './measure.ts';

/** Pages on each side: their bytes do not fit the nearest cache, as real traffic's do not. */
const PAGES = 256;
const BATCH = 32;
const FIRST_REF = 8;
const BASELINE = 'memory.copy of a page';

/** A domain with a bare grant table: reference FIRST_REF + n stands for its page n. */
class Party {
  readonly domain: Domain;
  readonly calls: Hypercalls;
  /** Where it maps: PAGES pages with page tables. */
  readonly window = PV_VA_BASE + 0x2000_0000;

  constructor(machine: Machine) {
    this.domain = createDomain(machine, { pages: PAGES, maxPages: 4 * PAGES });
    this.calls = new Hypercalls(this.domain);
    this.calls.setupTable(2);
    this.calls.providePageTables(this.window, PAGES);
  }

  mfn(page: number): number {
    return gfnToMfn(this.domain, page);
  }

  entry(ref: number, flags: number, domid: number, frame: number): void {
    const { u32 } = this.domain.machine;
    const at = sharedEntryOf(this.domain, ref) >>> 2;
    u32[at + 1] = frame;
    u32[at] = flags | (domid << 16);
  }

  grantAll(to: Party): void {
    for (let n = 0; n < PAGES; n++) {
      this.entry(FIRST_REF + n, GTF_permit_access, to.domain.id, this.mfn(n));
    }
  }
}

const pages = Array.from({ length: PAGES }, (_, n) => n);

/** Lists of `size` elements each. */
function batches<T>(elements: readonly T[], size: number): T[][] {
  const lists: T[][] = [];
  for (let i = 0; i < elements.length; i += size) lists.push(elements.slice(i, i + size));
  return lists;
}

function okay(elements: readonly { status: number }[]): void {
  for (const { status } of elements) {
    if (status !== 0) throw new Error(`an operation failed with status ${status}`);
  }
}

interface Operation {
  readonly name: string;
  /** Does it once for each page, in batches of so many. */
  round(size: number): () => void;
}

/** Page n of one to page n of the other, each named by reference where `flags` say so. */
function copyOperation(
  name: string,
  caller: Party,
  from: Party,
  to: Party,
  flags: number,
): Operation {
  const ops = pages.map((n) => {
    const op = new GnttabCopy();
    op.flags = flags;
    op.len = PAGE_SIZE;
    for (const [side, party, gref] of [
      [op.source, from, GNTCOPY_source_gref],
      [op.dest, to, GNTCOPY_dest_gref],
    ] as const) {
      side.domid = (flags & gref) !== 0 ? party.domain.id : DOMID_SELF;
      side.ref = FIRST_REF + n;
      side.gmfn = party.mfn(n);
    }
    return op;
  });
  return {
    name,
    round(size) {
      const lists = batches(ops, size);
      return () => {
        for (const list of lists) caller.calls.gnttabCopy(list);
        okay(ops);
      };
    },
  };
}

function mapOperation(name: string, granter: Party, mapper: Party, flags: number): Operation {
  const maps = pages.map((n) => {
    const op = new GnttabMapGrantRef();
    op.hostAddr = mapper.window + n * PAGE_SIZE;
    op.flags = flags;
    op.ref = FIRST_REF + n;
    op.dom = granter.domain.id;
    return op;
  });
  const unmaps = maps.map(({ hostAddr }) => Object.assign(new GnttabUnmapGrantRef(), { hostAddr }));
  return {
    name,
    round(size) {
      const [mapLists, unmapLists] = [batches(maps, size), batches(unmaps, size)];
      return () => {
        for (let i = 0; i < mapLists.length; i++) {
          const [list, undo] = [mapLists[i]!, unmapLists[i]!];
          mapper.calls.gnttabMap(list);
          for (let n = 0; n < size; n++) undo[n]!.handle = list[n]!.handle;
          mapper.calls.gnttabUnmap(undo);
        }
        okay(maps);
        okay(unmaps);
      };
    },
  };
}

/** The same 32 frames back and forth. */
function transferOperation(a: Party, b: Party): Operation {
  const ops = a.calls.increaseReservation(BATCH).map((mfn, n) => {
    const op = new GnttabTransfer();
    op.mfn = mfn;
    op.ref = FIRST_REF + PAGES + n;
    return op;
  });
  const oneWay = (from: Party, to: Party, lists: readonly GnttabTransfer[][]) => {
    for (const { ref } of ops) to.entry(ref, GTF_accept_transfer, from.domain.id, 0);
    for (const op of ops) op.domid = to.domain.id;
    for (const list of lists) from.calls.gnttabTransfer(list);
    okay(ops);
  };
  return {
    name: 'transfer',
    round(size) {
      const lists = batches(ops, size);
      return () => {
        for (let n = 0; n < PAGES / BATCH / 2; n++) {
          oneWay(a, b, lists);
          oneWay(b, a, lists);
        }
      };
    },
  };
}

async function measureAll(machine: Machine, group: string): Promise<Result[]> {
  const [a, b, user] = [new Party(machine), new Party(machine), new Party(machine)];
  a.grantAll(user);
  b.grantAll(user);
  const both = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  const operations = [
    copyOperation('copy-4096', user, a, user, GNTCOPY_source_gref),
    copyOperation('copy-4096-ref-to-ref', user, a, b, both),
    copyOperation('copy-4096-frame-to-frame', user, user, user, 0),
    mapOperation('map-unmap', a, user, GNTMAP_host_map),
    mapOperation('map-unmap-ro', a, user, GNTMAP_host_map | GNTMAP_readonly),
    transferOperation(a, b),
  ];
  const target = pages.map((n) => user.mfn(n) * PAGE_SIZE);
  const source = pages.map((n) => a.mfn(n) * PAGE_SIZE);
  const { heap } = machine;
  const bare = () => {
    for (const n of pages) heap.copy(target[n]!, source[n]!, PAGE_SIZE);
  };
  const rounds = operations.flatMap((operation) => [operation.round(1), operation.round(BATCH)]);
  const times = PAGES * 200;
  const [baseline, ...values] = await inTurn(
    [bare, ...rounds].map((round) => ({
      times,
      run: (count: number) => {
        for (let done = 0; done < count; done += PAGES) round();
      },
    })),
  );
  return operations.flatMap(({ name }, i) => [
    slower(`${group}/${name}`, values[2 * i]!, BASELINE, baseline!),
    slower(`${group}/${name}-x32`, values[2 * i + 1]!, BASELINE, baseline!),
  ]);
}

/** Names of the results, below a group. */
export const operationNames = (group: string): string[] =>
  [
    'copy-4096',
    'copy-4096-ref-to-ref',
    'copy-4096-frame-to-frame',
    'map-unmap',
    'map-unmap-ro',
    'transfer',
  ].flatMap((name) => [`${group}/${name}`, `${group}/${name}-x32`]);

/** On a machine of this thread's own. */
export const grantOperations = (): Promise<Result[]> =>
  measureAll(createMachine({ memoryPages: 4096, traceRecords: 0 }), 'grant');

/** On a machine that other threads may be attached to. */
export function sharedGrantOperations(): Promise<Result[]> {
  const machine = createMachine({ memoryPages: 4096, traceRecords: 0 });
  machine.share();
  return measureAll(machine, 'grant-shared');
}
