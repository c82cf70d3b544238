/** What does not grow with size: one operation on a big table and a small one; a domain's life among a thousand and among ten. */
import {
  createDomain,
  createMachine,
  destroyDomain,
  freePages,
  GnttabMapGrantRef,
  GnttabUnmapGrantRef,
  Hypercalls,
  type Machine,
  PV_VA_BASE,
} from '@ringside/gnttab-core';
import { GNTMAP_host_map, GTF_permit_access } from '@ringside/gnttab-core/abi';
import { gfnToMfn, sharedEntryOf } from '@ringside/gnttab-core/hypervisor';
import { inTurn, type Result, slower } from './measure.ts';

const WINDOW = PV_VA_BASE + 0x2000_0000;

/** Maps and unmaps references spread over a table of `frames` frames, `spread` of them. */
function mapUnmap(machine: Machine, frames: number, spread: number): (times: number) => void {
  const granter = createDomain(machine, { pages: 16 });
  const mapper = createDomain(machine, { pages: 16 });
  const calls = new Hypercalls(mapper);
  new Hypercalls(granter).setupTable(frames);
  calls.providePageTables(WINDOW, 1);
  const step = Math.floor((frames * 512 - 8) / spread);
  const refs = Array.from({ length: spread }, (_, n) => 8 + n * step);
  const { u32 } = machine;
  for (const ref of refs) {
    const at = sharedEntryOf(granter, ref) >>> 2;
    u32[at + 1] = gfnToMfn(granter, ref % 16);
    u32[at] = GTF_permit_access | (mapper.id << 16);
  }
  const [map, unmap] = [new GnttabMapGrantRef(), new GnttabUnmapGrantRef()];
  const [maps, unmaps] = [[map], [unmap]];
  Object.assign(map, { hostAddr: WINDOW, flags: GNTMAP_host_map, dom: granter.id });
  unmap.hostAddr = WINDOW;
  return (times) => {
    for (let i = 0; i < times; i++) {
      map.ref = refs[i % spread]!;
      calls.gnttabMap(maps);
      unmap.handle = map.handle;
      calls.gnttabUnmap(unmaps);
    }
    if (map.status !== 0 || unmap.status !== 0) throw new Error('a mapping failed');
  };
}

/** The same 128 references in a table of 512 entries, and in one of 32,768. */
export async function tableSizes(): Promise<Result[]> {
  const machine = createMachine({ memoryPages: 4096, traceRecords: 0 });
  const times = 20_000;
  const [big, small] = await inTurn([
    { times, run: mapUnmap(machine, 64, 128) },
    { times, run: mapUnmap(machine, 1, 128) },
  ]);
  const baseline = 'the same with a table of 512 entries';
  return [slower('grant/map-unmap-of-32768', big!, baseline, small!)];
}

const PAGES = 16;

/** A domain of `pages` pages is created and destroyed. */
const lives = (machine: Machine, pages: number) => (times: number) => {
  for (let i = 0; i < times; i++) destroyDomain(createDomain(machine, { pages }));
};

/** A thousand domains of 16 pages: what each takes beyond them, and what the next one's life takes. */
export async function manyDomains(): Promise<Result[]> {
  const crowd = createMachine({ memoryPages: 65_536, traceRecords: 0 });
  const few = createMachine({ memoryPages: 65_536, traceRecords: 0 });
  const before = freePages(crowd);
  for (let n = 0; n < 1000; n++) createDomain(crowd, { pages: PAGES });
  const each = (before - freePages(crowd)) / 1000 - PAGES;
  for (let n = 0; n < 10; n++) createDomain(few, { pages: PAGES });
  const times = 200;
  const [among1000, among10, big] = await inTurn([
    { times, run: lives(crowd, PAGES) },
    { times, run: lives(few, PAGES) },
    { times, run: lives(few, 64 * PAGES) },
  ]);
  return [
    { name: 'domains/bytes-each-of-1000', value: each * 4096, unit: 'bytes' },
    slower('domains/life-among-1000', among1000!, 'the same among 10', among10!),
    slower('domains/life-with-1024-pages', big!, 'the same with 16 pages', among10!),
  ];
}
