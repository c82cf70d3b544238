/**
 * The lab's own scenario: a guest shares pages with a driver domain, and wants them back. First the peer lets go, then it
 * does not, and the domain controller helps. grant_table.h, "Invalidating an unused GTF_permit_access entry" and
 * "Invalidating an in-use GTF_permit_access entry".
 */
import {
  bootGuest,
  createDomain,
  type Domain,
  type ForeignMapping,
  type GrantRef,
  type Guest,
  type GuestPage,
  limitGrant,
  PageFault,
} from '@ringside/gnttab-core';
import { DOMID_SELF, GNTCOPY_source_gref } from '@ringside/gnttab-core/abi';
import {
  type AfterRevocation,
  copyEnd,
  copyOne,
  explainEnd,
  GnttabCopy,
} from '@ringside/gnttab-core/hypervisor';
import { type Lab, namesOf, takeMoment } from './moment.ts';

/** How long the driver may keep a page that it was asked for. */
const TIMEOUT_NS = 5e6;

/** Runs the scenario to its end. */
export async function runSharingLab(lab: Lab): Promise<void> {
  const stage = new Stage(lab);
  share(stage);
  await takeBack(stage, 'fault');
  await takeBack(stage, 'private-copy');
  await takeBackLost(stage);
}

class Stage {
  readonly controller: Domain;
  readonly driver: Guest;
  readonly guest: Guest;
  readonly #lab: Lab;

  constructor(lab: Lab) {
    const { machine, names } = lab;
    this.#lab = lab;
    this.controller = createDomain(machine, { pages: 16, privileged: true, domid: 0 });
    this.driver = bootGuest(createDomain(machine, { pages: 64 }));
    this.guest = bootGuest(createDomain(machine, { pages: 64 }));
    names.set(0, 'Domain-0').set(this.driver.id, 'driver').set(this.guest.id, 'guest1');
  }

  show(title: string, ...remarks: string[]): void {
    this.#lab.onMoment(takeMoment(this.#lab.machine, title, remarks));
  }

  /** The guest tries to end a grant, and asks who is in its way. */
  tryEnd(ref: GrantRef, page: GuestPage): void {
    const { grants, memory, id } = this.guest;
    const result = grants.endForeignAccess(ref);
    if (result === 'ended') memory.freePage(page);
    const moment = takeMoment(this.#lab.machine, `guest1 tries to end reference ${ref}: ${result}`);
    const table = moment.tables.find(({ domid }) => domid === id)!;
    const remarks =
      result === 'ended'
        ? ["the page is guest1's alone, and may be used for anything"]
        : explainEnd(table, ref, namesOf(this.#lab.names));
    this.#lab.onMoment({ ...moment, remarks });
  }

  /** The guest grants a page with these words in it. */
  grant(words: string): { ref: GrantRef; page: GuestPage } {
    const page = this.guest.memory.allocPage();
    this.guest.memory.write(page.va, new TextEncoder().encode(words));
    return { ref: this.guest.grants.grantForeignAccess(this.driver.id, page), page };
  }
}

/** A peer that lets go when it is done. */
function share(stage: Stage): void {
  const { driver, guest } = stage;
  const { ref, page } = stage.grant('hello');
  stage.show(`guest1 grants a page to driver: reference ${ref}`);
  const reader = driver.mappings.map(guest.id, ref, { readonly: true });
  stage.show('driver maps it read-only');
  const writer = driver.mappings.map(guest.id, ref);
  stage.show('driver maps it again, writable');

  // As the hypercall does it, stopped between two elements of its batch.
  const op = new GnttabCopy();
  op.flags = GNTCOPY_source_gref;
  op.source.domid = guest.id;
  op.source.ref = ref;
  op.dest.domid = DOMID_SELF;
  op.dest.gmfn = driver.memory.frameOf(driver.memory.allocPage());
  op.len = 5;
  copyOne(driver.domain, op);
  stage.show('driver copies from it: the hypercall is under way');
  copyEnd(driver.domain);
  stage.tryEnd(ref, page);
  writer.unmap();
  stage.show('driver unmaps the writable mapping');
  stage.tryEnd(ref, page);
  reader.unmap();
  stage.show('driver unmaps the read-only mapping');
  stage.tryEnd(ref, page);
}

/** A peer that keeps the page, until the domain controller takes it away. */
async function takeBack(stage: Stage, after: AfterRevocation): Promise<void> {
  const { driver, guest } = stage;
  const { ref, page } = stage.grant('mine!');
  const kept = driver.mappings.map(guest.id, ref);
  stage.show(`guest1 grants a page, reference ${ref}; driver maps it and keeps it`);
  stage.tryEnd(ref, page);
  await limit(stage, ref, after);
  guest.memory.write(page.va, new TextEncoder().encode('reuse'));
  stage.show('guest1 reuses the page; driver looks at its mapping', look(driver, kept));
  stage.tryEnd(ref, page);
  kept.unmap();
  stage.show('driver unmaps what was taken back');
}

/** A peer that has forgotten where it had the page. */
async function takeBackLost(stage: Stage): Promise<void> {
  const { driver, guest } = stage;
  const { ref, page } = stage.grant('where');
  const lost = driver.mappings.map(guest.id, ref);
  driver.hypercalls.updateVaMapping(lost.va, null, false);
  stage.show(`driver maps reference ${ref}, and overwrites its own page table entry`);
  stage.tryEnd(ref, page);
  await limit(stage, ref, 'fault');
  stage.tryEnd(ref, page);
  lost.unmap();
  stage.show('driver unmaps what was taken back');
}

async function limit(stage: Stage, ref: GrantRef, after: AfterRevocation): Promise<void> {
  const { controller, guest } = stage;
  const outcome = limitGrant(controller, {
    granter: guest.id,
    ref,
    timeoutNs: TIMEOUT_NS,
    after,
  });
  const what = after === 'fault' ? 'a fault' : 'a private copy';
  stage.show(`Domain-0 puts a time limit on reference ${ref}; what follows is ${what}`);
  const result = await outcome;
  stage.show(`the time of reference ${ref} is over: ${result}`);
}

function look({ memory }: Guest, { va }: ForeignMapping): string {
  const bytes = new Uint8Array(5);
  try {
    memory.read(va, bytes);
  } catch (error) {
    if (!(error instanceof PageFault)) throw error;
    return `driver faults: ${error.message}`;
  }
  return `driver reads "${new TextDecoder().decode(bytes)}", as the page was when it was taken back`;
}
