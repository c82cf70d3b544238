/**
 * The disk copy: `npx -y pnpm tsx examples/disk-copy.ts`
 *
 * A guest with two virtual disks copies one to the other. It has no other way to the disks than a ring for each, grants
 * of its own pages, and a driver domain at the other end.
 */
import { connectBlkfront, memoryDisk, startBlkback } from '@ringside/blkif';
import { createMachine } from '@ringside/gnttab-core';
import { startToolstack } from '@ringside/ringside';

const machine = createMachine({ seed: 7 });
const toolstack = await startToolstack(machine);
const driver = await toolstack.createDomain({ name: 'driver', pages: 256 });
const guest = await toolstack.createDomain({ name: 'guest', pages: 256 });

// Two disks of 1 MiB, one full of noise, one of zeros.
const content = Uint8Array.from({ length: 2 ** 20 }, () => machine.random.below(256));
const original = memoryDisk({ content, readOnly: true });
const copy = memoryDisk({ sizeBytes: content.length });

// The driver domain serves whatever the toolstack attaches. The guest finds its disks in XenStore and connects.
const blkback = startBlkback({ ...driver, openDisk: toolstack.openDisk });
const pair = { front: guest, back: driver };
const xvda = await toolstack.attachDisk({ ...pair, disk: original, vdev: 'xvda' });
const xvdb = await toolstack.attachDisk({ ...pair, disk: copy, vdev: 'xvdb' });
const from = await connectBlkfront({ ...guest, id: xvda.id });
const to = await connectBlkfront({ ...guest, id: xvdb.id });
for (const { device, properties } of [from, to]) {
  const { sectors512, readOnly } = properties;
  const access = readOnly ? 'read-only' : 'writable';
  console.log(`${device.path}: ${sectors512} sectors of 512 bytes, ${access}`);
}

const { sectors512 } = from.properties;
const sectors = 256;
for (let sector = 0; sector < sectors512; sector += sectors) {
  const data = await from.read({ sector, sectors });
  await to.write({ sector, data });
  console.log(`sectors ${sector} to ${sector + sectors - 1} copied`);
}
await to.flush();

const arrived = new Uint8Array(content.length);
copy.read(0, [arrived]);
const wrong = arrived.findIndex((byte, at) => byte !== content[at]);
console.log(wrong < 0 ? `all ${arrived.length} bytes are right` : `byte ${wrong} is wrong`);

const requests = from.stats.requests + to.stats.requests;
const { notificationsSent } = guest.guest.domain.counters();
const { copies, copiedBytes } = driver.guest.domain.counters();
console.log(
  `${requests} requests went over the rings, ${notificationsSent} notifications with them`,
);
console.log(`the driver domain had ${copies} copies made by grant, ${copiedBytes} bytes in all`);

await toolstack.detach(xvda);
await toolstack.detach(xvdb);
await blkback.stop();
const { grants, grantEnds } = guest.guest.domain.counters();
console.log(`the disks are detached: of ${grants} grants ${grantEnds} have ended`);
