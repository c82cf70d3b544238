/**
 * Who still maps my page, and how to get it back: `npx -y pnpm tsx examples/revocation.ts`
 *
 * A grant in use cannot be ended by its granter. `whyBusy` reads the hypervisor's tables and says who is in the way; the
 * domain controller can put a time limit on the use, after which the page is the granter's again.
 */
import {
  bootGuest,
  createDomain,
  createMachine,
  limitGrant,
  PageFault,
} from '@ringside/gnttab-core';
import { describeGrants, whyBusy } from '@ringside/gnttab-core/hypervisor';

const machine = createMachine({ seed: 1 });
const controller = createDomain(machine, { pages: 16, privileged: true, domid: 0 });
const driver = bootGuest(createDomain(machine, { pages: 64 }));
const guest = bootGuest(createDomain(machine, { pages: 64 }));
const nameOf = (domid: number) => ['the controller', 'the driver', 'the guest'][domid]!;

const page = guest.memory.allocPage();
const ref = guest.grants.grantForeignAccess(driver.id, page);
const reader = driver.mappings.map(guest.id, ref, { readonly: true });
const writer = driver.mappings.map(guest.id, ref);

console.log(`the guest tries to end reference ${ref}: ${guest.grants.endForeignAccess(ref)}`);
for (const reason of whyBusy(machine, guest.id, ref, nameOf)) console.log(`- ${reason}`);

reader.unmap();
console.log('the driver unmaps one of them');
for (const reason of whyBusy(machine, guest.id, ref, nameOf)) console.log(`- ${reason}`);

// The same as data.
const table = describeGrants(machine).find(({ domid }) => domid === guest.id)!;
for (const { pinned, mappings } of table.grants) {
  console.log('pins:', pinned?.pins);
  for (const { handle, state } of mappings) console.log(`handle ${handle}: ${state}`);
}

const limit = { granter: guest.id, ref, timeoutNs: 1e6, after: 'fault' } as const;
const outcome = limitGrant(controller, limit);
console.log('the controller gives the driver a millisecond');
for (const reason of whyBusy(machine, guest.id, ref, nameOf)) console.log(`- ${reason}`);
console.log(`the time is over: ${await outcome}`);

try {
  driver.memory.read(writer.va, new Uint8Array(1));
} catch (error) {
  if (!(error instanceof PageFault)) throw error;
  console.log(`the driver finds nothing there any more: ${error.message}`);
}
console.log(`the guest ends reference ${ref}: ${guest.grants.endForeignAccess(ref)}`);
guest.memory.freePage(page);
writer.unmap();
console.log("the driver's handle was good for this one unmap");
