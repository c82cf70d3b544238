/** What a domain and a device cost in bytes of machine memory, beyond the pages that the domain asked for. */
import { memoryDisk } from '@ringside/blkif';
import { bootGuest, createDomain, freePages, type Machine } from '@ringside/gnttab-core';
import { type Host, plugDisk, plugVif } from '@ringside/ringside';
import type { Result } from './measure.ts';

const bytes = (name: string, pages: number): Result => ({
  name,
  value: pages * 4096,
  unit: 'bytes',
});

export async function fixedCosts(machine: Machine, host: Host): Promise<Result[]> {
  const empty = freePages(machine);
  const domain = createDomain(machine, { pages: 256 });
  const created = freePages(machine);
  bootGuest(domain);
  const booted = freePages(machine);

  const guest = await host.toolstack.createDomain({ name: 'cost', pages: 2048 });
  // What a device takes comes out of the pages of its two ends, and out of the hypervisor's.
  const left = () =>
    freePages(machine) + guest.guest.memory.freeCount + host.driver.guest.memory.freeCount;
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
