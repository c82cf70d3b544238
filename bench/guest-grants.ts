/** What a guest kernel's part of grants costs: granting a page and ending it, and flipping pages. */
import {
  bootGuest,
  createDomain,
  GnttabTransfer,
  type GrantRef,
  type Machine,
} from '@ringside/gnttab-core';
import { inTurn, type Result } from './measure.ts';

const PAGES = 256;
const BATCH = 32;

const guestOf = (machine: Machine) => bootGuest(createDomain(machine, { pages: 1024 }));

/** Granting a page and ending the grant; transferring pages in batches of 32, with all that both guests do for it. */
export async function guestGrants(machine: Machine): Promise<Result[]> {
  const [granter, user] = [guestOf(machine), guestOf(machine)];
  const pages = granter.memory.allocPages(PAGES);
  const [grant, flip] = await inTurn([
    {
      times: 50_000,
      run: (times) => {
        for (let i = 0; i < times; i++) {
          const ref = granter.grants.grantForeignAccess(user.id, pages[i % PAGES]!);
          granter.grants.endForeignAccess(ref);
        }
      },
    },
    { times: 20_480, run: flips(guestOf(machine), guestOf(machine)) },
  ]);
  return [
    { name: 'guest/grant-end', value: grant!, unit: 'ns' },
    { name: 'guest/flip-x32', value: flip!, unit: 'ns' },
  ];
}

type Guest = ReturnType<typeof guestOf>;

function flips(a: Guest, b: Guest): (times: number) => void {
  const pages = a.memory.allocPages(BATCH);
  const places = b.memory.allocPages(BATCH);
  b.memory.surrender(places);
  const ops = pages.map(() => new GnttabTransfer());
  const oneWay = (from: Guest, sources: typeof pages, to: Guest, targets: typeof pages) => {
    for (let i = 0; i < BATCH; i++) {
      const op = ops[i]!;
      op.ref = to.grants.grantForeignTransfer(from.id, targets[i]!.gfn);
      op.domid = to.id;
      op.mfn = from.memory.detachForTransfer(sources[i]!);
    }
    from.hypercalls.gnttabTransfer(ops);
    for (let i = 0; i < BATCH; i++) {
      const frame = to.grants.endForeignTransfer(ops[i]!.ref as GrantRef);
      to.memory.adopt(targets[i]!, frame!);
    }
  };
  return (times) => {
    for (let done = 0; done < times; done += 2 * BATCH) {
      oneWay(a, pages, b, places);
      oneWay(b, places, a, pages);
    }
  };
}
