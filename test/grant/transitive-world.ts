/** A chain of two grants, and what the specs of transitive grants have in common. */
import { GTF_permit_access, GTF_transitive } from '@ringside/gnttab-core/abi';
import { expect } from 'vitest';
import { fullPage, statusOf, transitive, version2 } from './entries-v2.ts';
import { type Actor, World } from './world.ts';

export const INNER = 20;
export const OUTER = 30;

/** `owner` grants page 0 to `middle` as INNER; `middle` passes that on to `caller` as OUTER. */
export function chain(innerFlags: number = GTF_permit_access, outerFlags = 0) {
  const world = new World();
  const owner = version2(world.domain());
  const middle = version2(world.domain());
  const caller = world.domain();
  const other = world.domain();
  fullPage(owner, INNER, { flags: innerFlags, domid: middle.id, frame: owner.frame(0) });
  const outer = {
    flags: GTF_transitive | outerFlags,
    domid: caller.id,
    transDomid: owner.id,
    gref: INNER,
  };
  transitive(middle, OUTER, outer);
  const theirs = (offset = 0) => ({ ref: OUTER, domid: middle.id, offset });
  const own = { gmfn: caller.mfn(1) };
  return {
    world,
    owner,
    middle,
    caller,
    other,
    outer,
    read: (len = 16, offset = 0) => caller.copy(theirs(offset), own, len),
    write: (len = 16, offset = 0) => caller.copy(own, theirs(offset), len),
  };
}

/** Neither grant is in use. */
export function expectUnused({ owner, middle }: { owner: Actor; middle: Actor }) {
  const none = { hstw: 0, hstr: 0, devw: 0, devr: 0 };
  expect([owner.pin(INNER), middle.pin(OUTER)]).toEqual([none, none]);
  expect([statusOf(owner, INNER), statusOf(middle, OUTER)]).toEqual([0, 0]);
  expect(owner.extraReferences(0)).toBe(0);
}
