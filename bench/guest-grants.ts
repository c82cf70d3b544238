/** Grant operations, against the bare memory copy of the same bytes where they copy. */
import {
  bootGuest,
  createDomain,
  GnttabCopy,
  GnttabMapGrantRef,
  GnttabTransfer,
  GnttabUnmapGrantRef,
  type GrantRef,
  type Machine,
} from '@ringside/gnttab-core';
import { DOMID_SELF, GNTCOPY_source_gref, GNTMAP_host_map } from '@ringside/gnttab-core/abi';
import { inTurn, type Result, slower } from './measure.ts';

/** Pages on each side: their bytes do not fit the nearest cache, as real traffic's do not. */
const PAGES = 256;
const BATCH = 32;

const guestOf = (machine: Machine) => bootGuest(createDomain(machine, { pages: 1024 }));

function okay(status: number): void {
  if (status !== 0) throw new Error(`an operation failed with status ${status}`);
}

/** GNTTABOP_copy from a reference to an own frame. */
export async function copies(machine: Machine): Promise<Result[]> {
  const [granter, user] = [guestOf(machine), guestOf(machine)];
  const from = granter.memory.allocPages(PAGES);
  const to = user.memory.allocPages(PAGES);
  const ops = from.map((page, i) => {
    const op = new GnttabCopy();
    op.flags = GNTCOPY_source_gref;
    op.source.ref = granter.grants.grantForeignAccess(user.id, page, { readonly: true });
    op.source.domid = granter.id;
    op.dest.gmfn = user.memory.frameOf(to[i]!);
    op.dest.domid = DOMID_SELF;
    op.len = 4096;
    return op;
  });
  const batches = Array.from({ length: PAGES / BATCH }, (_, i) =>
    ops.slice(i * BATCH, (i + 1) * BATCH),
  );
  const singles = ops.map((op) => [op]);
  const source = from.map((page) => granter.memory.mfnOf(page) * 4096);
  const target = to.map((page) => user.memory.mfnOf(page) * 4096);
  const run = (lists: GnttabCopy[][]) => (times: number) => {
    for (let done = 0; done < times; done += PAGES) {
      for (const list of lists) user.hypercalls.gnttabCopy(list);
    }
  };
  const times = PAGES * 80;
  const [batched, single, bare] = await inTurn([
    { run: run(batches), times },
    { run: run(singles), times },
    {
      run: (count) => {
        const { heap } = machine;
        for (let i = 0; i < count; i++) heap.copy(target[i % PAGES]!, source[i % PAGES]!, 4096);
      },
      times,
    },
  ]);
  for (const { status } of ops) okay(status);
  const baseline = 'memory.copy of the same pages';
  return [
    slower('grant/copy-4096-x32', batched!, baseline, bare!),
    slower('grant/copy-4096', single!, baseline, bare!),
  ];
}

/** Granting a page and ending the grant; mapping a grant and unmapping it. */
export async function grantsAndMaps(machine: Machine): Promise<Result[]> {
  const [granter, user] = [guestOf(machine), guestOf(machine)];
  const pages = granter.memory.allocPages(PAGES);
  const refs = pages.map((page) => granter.grants.grantForeignAccess(user.id, page));
  const va = user.memory.mappingWindow(1);
  const map = new GnttabMapGrantRef();
  const unmap = new GnttabUnmapGrantRef();
  const [maps, unmaps] = [[map], [unmap]];
  const [grant, mapping] = await inTurn([
    {
      run: (times) => {
        for (let i = 0; i < times; i++) {
          const ref = granter.grants.grantForeignAccess(user.id, pages[i % PAGES]!);
          granter.grants.endForeignAccess(ref);
        }
      },
      times: 50_000,
    },
    {
      run: (times) => {
        for (let i = 0; i < times; i++) {
          map.hostAddr = va;
          map.flags = GNTMAP_host_map;
          map.dom = granter.id;
          map.ref = refs[i % PAGES]!;
          user.hypercalls.gnttabMap(maps);
          unmap.hostAddr = va;
          unmap.handle = map.handle;
          user.hypercalls.gnttabUnmap(unmaps);
        }
      },
      times: 30_000,
    },
  ]);
  okay(map.status);
  okay(unmap.status);
  return [
    { name: 'grant/grant-end', value: grant!, unit: 'ns' },
    { name: 'grant/map-unmap', value: mapping!, unit: 'ns' },
  ];
}

/** GNTTABOP_transfer there and back, in batches of 32: the hypercall alone, and with the guests' part around it. */
export async function transfers(machine: Machine): Promise<Result[]> {
  const [a, b] = [guestOf(machine), guestOf(machine)];
  const pages = a.memory.allocPages(BATCH);
  const places = b.memory.allocPages(BATCH);
  b.memory.surrender(places);
  const ops = pages.map(() => new GnttabTransfer());
  let inHypercall = 0;
  const oneWay = (from: typeof a, sources: typeof pages, to: typeof a, targets: typeof pages) => {
    for (let i = 0; i < BATCH; i++) {
      const op = ops[i]!;
      op.ref = to.grants.grantForeignTransfer(from.id, targets[i]!.gfn);
      op.domid = to.id;
      op.mfn = from.memory.detachForTransfer(sources[i]!);
    }
    const start = performance.now();
    from.hypercalls.gnttabTransfer(ops);
    inHypercall += performance.now() - start;
    for (let i = 0; i < BATCH; i++) {
      const frame = to.grants.endForeignTransfer(ops[i]!.ref as GrantRef);
      to.memory.adopt(targets[i]!, frame!);
    }
  };
  const alone: number[] = [];
  const [flip] = await inTurn([
    {
      run: (times) => {
        inHypercall = 0;
        for (let done = 0; done < times; done += 2 * BATCH) {
          oneWay(a, pages, b, places);
          oneWay(b, places, a, pages);
        }
        alone.push((inHypercall * 1e6) / times);
      },
      times: 20_480,
    },
  ]);
  for (const { status } of ops) okay(status);
  const sorted = alone.toSorted((x, y) => x - y);
  return [
    { name: 'grant/transfer-x32', value: sorted[sorted.length >> 1]!, unit: 'ns' },
    { name: 'grant/flip-x32', value: flip!, unit: 'ns' },
  ];
}
