/**
 * One read, step by step: `npx -y pnpm tsx examples/one-read.ts`
 *
 * A guest reads one sector of its disk, and the machine's trace tells what that took: who granted what to whom, what
 * went over the ring, who copied, and who was told.
 */
import { connectBlkfront, memoryDisk, startBlkback } from '@ringside/blkif';
import { createMachine, timelineLine } from '@ringside/gnttab-core';
import { startToolstack } from '@ringside/ringside';

const machine = createMachine({ seed: 7 });
const toolstack = await startToolstack(machine);
const driver = await toolstack.createDomain({ name: 'driver', pages: 256 });
const guest = await toolstack.createDomain({ name: 'guest', pages: 256 });
startBlkback({ ...driver, openDisk: toolstack.openDisk });
const disk = memoryDisk({ content: new TextEncoder().encode('boot sector'.padEnd(512)) });
const { id } = await toolstack.attachDisk({ front: guest, back: driver, disk, vdev: 'xvda' });
const blkfront = await connectBlkfront({ ...guest, id });

// Everything up to here was the handshake; from here on it is one request.
const from = machine.trace.written;
machine.trace.enabled = true;
const bootSector = await blkfront.read({ sector: 0, sectors: 1 });
machine.trace.enabled = false;

const nameOf = (domid: number) => (domid === driver.guest.id ? 'driver' : 'guest');
for (const record of machine.trace.records(from)) console.log(timelineLine(record, nameOf));
console.log(`the guest read "${new TextDecoder().decode(bootSector).trimEnd()}"`);
