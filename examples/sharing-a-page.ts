/**
 * Sharing a page, and trying to end it too early: `npx -y pnpm tsx examples/sharing-a-page.ts`
 *
 * Domain 1 grants a page of its own to domain 0, which maps it. A grant cannot be ended under the hands of whoever has
 * it mapped: the attempt answers `busy`, and the page must stay as it is until the other side lets go.
 */
import {
  bootGuest,
  createDomain,
  createMachine,
  GrantError,
  type Guest,
  PageFault,
} from '@ringside/gnttab-core';

const machine = createMachine({ seed: 1 });
const dom0 = bootGuest(createDomain(machine, { pages: 64, privileged: true }));
const dom1 = bootGuest(createDomain(machine, { pages: 64 }));

function write({ memory }: Guest, va: number, text: string): void {
  memory.write(va, new TextEncoder().encode(text));
}

function read({ memory }: Guest, va: number): string {
  const bytes = new Uint8Array(5);
  memory.read(va, bytes);
  return new TextDecoder().decode(bytes);
}

// The granter: an entry of its grant table now says "domain 0 may use this frame".
const page = dom1.memory.allocPage();
write(dom1, page.va, 'hello');
const ref = dom1.grants.grantForeignAccess(dom0.id, page);
console.log(`domain 1 writes "hello" into a page and grants it to domain 0: reference ${ref}`);

// The reference is a number; how it gets to the other domain (XenStore, a ring) is not the grant table's business.
const mapping = dom0.mappings.map(dom1.id, ref);
console.log(`domain 0 maps reference ${ref} and reads "${read(dom0, mapping.va)}"`);

write(dom0, mapping.va, 'HELLO');
console.log(`domain 0 writes "HELLO" there; domain 1 reads "${read(dom1, page.va)}"`);

const { reading, writing } = dom1.grants.queryForeignAccess(ref);
console.log(`domain 1 asks who uses the page: reading ${reading}, writing ${writing}`);
console.log(`domain 1 tries to end the grant: ${dom1.grants.endForeignAccess(ref)}`);
write(dom1, page.va, 'still');
console.log(`nothing has changed: domain 0 reads "${read(dom0, mapping.va)}"`);

mapping.unmap();
try {
  read(dom0, mapping.va);
} catch (error) {
  if (!(error instanceof PageFault)) throw error;
  console.log(`domain 0 unmaps; whoever still uses the address faults: ${error.message}`);
}

console.log(`domain 1 tries to end the grant: ${dom1.grants.endForeignAccess(ref)}`);
try {
  dom0.mappings.map(dom1.id, ref);
} catch (error) {
  if (!(error instanceof GrantError)) throw error;
  console.log(`domain 0 tries to map it again: refused, status ${error.status}`);
}

dom1.memory.freePage(page);
console.log("the page is domain 1's alone, and may be used for anything");
