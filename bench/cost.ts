/** What a domain and a device cost in bytes of machine memory, beyond the pages that the domain asked for. */
import { memoryDisk } from '@ringside/blkif';
import { bootGuest, createDomain, createMachine, freePages } from '@ringside/gnttab-core';
import { bringUpHost, plugDisk, plugVif } from '@ringside/ringside';
import type { Result } from './measure.ts';

const bytes = (name: string, pages: number): Result => ({
  name,
  value: pages * 4096,
  unit: 'bytes',
});

export async function fixedCosts(): Promise<Result[]> {
  const machine = createMachine();
  const empty = freePages(machine);
  const domain = createDomain(machine, { pages: 256 });
  const created = freePages(machine);
  bootGuest(domain);
  const booted = freePages(machine);

  const host = await bringUpHost(createMachine());
  const guest = await host.toolstack.createDomain({ name: 'guest', pages: 2048 });
  // What a device takes comes out of the pages of its two ends, and out of the hypervisor's.
  const left = () =>
    freePages(host.machine) + guest.guest.memory.freeCount + host.driver.guest.memory.freeCount;
  const before = left();
  await plugDisk(host, guest, memoryDisk({ sizeBytes: 2 ** 20 }));
  const withDisk = left();
  await plugVif(host, guest, { rx: 'copy', tx: 'copy' });
  const withVif = left();
  return [
    bytes('cost/domain', empty - created - 256),
    bytes('cost/guest-kernel', created - booted),
    bytes('cost/vbd', before - withDisk),
    bytes('cost/vif', withDisk - withVif),
  ];
}
