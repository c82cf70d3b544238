/**
 * The two ends at the same time: one makes its final check and the other pushes, and each happens in the middle of the
 * other, before every single access to the shared memory. Whatever the moment, somebody must know of the message.
 */
import { describe, expect, it } from 'vitest';
import { flatAddressSpace } from '../machine/address-space.ts';
import type { AddressSpace } from '../machine/address-space.ts';
import { BackRing } from './back-ring.ts';
import { FrontRing } from './front-ring.ts';
import { testLayout } from './testing.ts';

/** Memory that lets something else happen just before the n-th access to a word through it. */
function interruptibleMemory(flat: AddressSpace) {
  let left = 0;
  let interrupt: (() => void) | undefined;
  const bank = flat.bankOf(0);
  const { i32 } = bank;
  Object.defineProperty(bank, 'i32', {
    get() {
      const happens = interrupt;
      if (happens !== undefined && --left === 0) {
        interrupt = undefined;
        happens();
      }
      return i32;
    },
  });
  const space: AddressSpace = {
    translate: (va, access) => flat.translate(va, access),
    bankOf: () => bank,
  };
  /** True if the interrupt happened during `work`, rather than after it. */
  const interrupted = (access: number, happens: () => void, work: () => void): boolean => {
    [left, interrupt] = [access, happens];
    work();
    const during = interrupt === undefined;
    if (!during) happens();
    interrupt = undefined;
    return during;
  };
  return { space, interrupted };
}

/** Receiver and sender of one kind of message, each on its own view of one ring; the receiver is awake. */
function ends(kind: 'requests' | 'responses') {
  const buffer = new SharedArrayBuffer(4096);
  const ofFront = interruptibleMemory(flatAddressSpace(buffer));
  const ofBack = interruptibleMemory(flatAddressSpace(buffer));
  const front = FrontRing.create(ofFront.space, 0, testLayout);
  const back = BackRing.attach(ofBack.space, 0, testLayout);
  for (const id of [1, 2]) front.put({ id });
  front.pushRequests();
  back.drainRequests();
  if (kind === 'requests') {
    front.put({ id: 3 });
    return {
      receiver: ofBack,
      sender: ofFront,
      push: () => front.pushRequestsAndCheckNotify(),
      finalCheck: () => back.finalCheckForRequests(),
    };
  }
  back.put({ id: 1 });
  back.pushResponses();
  front.drainResponses();
  back.put({ id: 2 });
  return {
    receiver: ofFront,
    sender: ofBack,
    push: () => back.pushResponsesAndCheckNotify(),
    finalCheck: () => front.finalCheckForResponses(),
  };
}

describe.each(['requests', 'responses'] as const)('%s: no wake-up is lost', (kind) => {
  it.each(['push during the final check', 'final check during the push'])('%s', (what) => {
    let moments = 0;
    for (let access = 1, during = true; during; access++) {
      const { receiver, sender, push, finalCheck } = ends(kind);
      let notified = false;
      let moreToDo = false;
      const pushes = () => void (notified = push());
      const checks = () => void (moreToDo = finalCheck());
      during =
        what === 'push during the final check'
          ? receiver.interrupted(access, pushes, checks)
          : sender.interrupted(access, checks, pushes);
      expect(notified || moreToDo, `before access ${access}`).toBe(true);
      if (during) moments++;
    }
    // final check: the producer index, its own event, the producer index again;
    // push: its old index, its new index, the receiver's event
    expect(moments).toBe(3);
  });
});
