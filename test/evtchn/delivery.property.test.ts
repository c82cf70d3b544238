/**
 * Two domains open, close and use ports as chance will have it, each with two virtual CPUs and either kind of delivery, beside
 * a model that is obvious: no event is lost, none is invented, masks and priorities are honoured. A guest has only its
 * upcalls to go by. fast-check prints the seed of what fails.
 */
import { createDomain, createMachine } from '@ringside/gnttab-core';
import { DOMID_SELF } from '@ringside/gnttab-core/abi';
import {
  evtchnAllocUnbound,
  evtchnBindInterdomain,
  evtchnBindIpi,
  evtchnBindVcpu,
  evtchnClose,
  evtchnSend,
  evtchnSetPriority,
  evtchnUnmask,
} from '@ringside/gnttab-core/hypervisor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ModelDomain } from './delivery-model.ts';
import type { EventGuest } from './event-guest.ts';
import { fifoGuest } from './fifo-guest.ts';
import { TwoLevelGuest } from './two-level-guest.ts';

const VCPUS = 2;
const MAX_PORT = 6;
const kinds = ['two-level', 'FIFO'] as const;
type Kind = (typeof kinds)[number];

/** One thing that a domain (0 or 1) does. */
interface Step {
  what: keyof typeof doings;
  domain: number;
  /** The domain that it is about. */
  other: number;
  port: number;
  vcpu: number;
  priority: number;
  /** What is done in the middle of its upcall, while an event is being taken. */
  meanwhile: Step[];
}

/** A domain, and the same in the model. */
interface Side {
  readonly guest: EventGuest;
  readonly model: ModelDomain;
}

const answered = (result: number, port: number): number => (result === 0 ? port : result);

/** What there is to do: it is done, and the answer is the model's. */
const doings = {
  alloc({ guest, model }: Side, other: Side) {
    const op = { dom: DOMID_SELF, remoteDom: other.guest.id, port: 0 };
    const result = evtchnAllocUnbound(guest.domain, op);
    expect(answered(result, op.port)).toBe(model.alloc(other.model));
  },
  bind({ guest, model }: Side, other: Side, { port }: Step) {
    const op = { remoteDom: other.guest.id, remotePort: port, localPort: 0 };
    const result = evtchnBindInterdomain(guest.domain, op);
    expect(answered(result, op.localPort)).toBe(model.bind(other.model, port));
  },
  ipi({ guest, model }: Side, _: Side, { vcpu }: Step) {
    const op = { vcpu, port: 0 };
    const result = evtchnBindIpi(guest.domain, op);
    expect(answered(result, op.port)).toBe(model.ipi(vcpu));
  },
  send({ guest, model }: Side, _: Side, { port }: Step) {
    expect(evtchnSend(guest.domain, port)).toBe(model.send(port));
  },
  mask({ guest, model }: Side, _: Side, { port }: Step) {
    guest.mask(port);
    model.mask(port);
  },
  unmask({ guest, model }: Side, _: Side, { port }: Step) {
    expect(evtchnUnmask(guest.domain, port)).toBe(model.unmask(port));
  },
  close({ guest, model }: Side, _: Side, { port }: Step) {
    expect(evtchnClose(guest.domain, port)).toBe(model.close(port));
  },
  setPriority({ guest, model }: Side, _: Side, { port, priority }: Step) {
    const result = evtchnSetPriority(guest.domain, { port, priority });
    expect(result).toBe(model.setPriority(port, priority));
  },
  bindVcpu({ guest, model }: Side, _: Side, { port, vcpu }: Step) {
    expect(evtchnBindVcpu(guest.domain, { port, vcpu })).toBe(model.bindVcpu(port, vcpu));
  },
  upcall() {},
};

function play(kindsOfBoth: readonly Kind[], steps: readonly Step[]) {
  const machine = createMachine({ memoryPages: 256, seed: 1 });
  const sides = kindsOfBoth.map((kind): Side => {
    const domain = createDomain(machine, { pages: 4, vcpus: VCPUS, maxPort: MAX_PORT });
    const guest = kind === 'FIFO' ? fifoGuest(domain) : new TwoLevelGuest(domain);
    return { guest, model: new ModelDomain(kind === 'FIFO', VCPUS, MAX_PORT) };
  });
  let taken = 0;

  function take(side: Side, vcpu: number, port: number, meanwhile: Step[]): void {
    const { model } = side;
    if (model.fifo) expect(port, 'the next of the most urgent').toBe(model.next(vcpu));
    else expect(model.isDeliverable(port), `port ${port} is pending, and not masked`).toBe(true);
    model.pending.delete(port);
    taken += 1;
    for (const step of meanwhile.splice(0)) run(step);
  }

  function upcall(side: Side, vcpu: number, meanwhile: Step[] = []): void {
    side.guest.upcall(vcpu, (port) => take(side, vcpu, port, meanwhile));
    if (side.model.fifo) expect(side.model.next(vcpu), 'left behind').toBeUndefined();
  }

  function run(step: Step): void {
    const [side, other] = [sides[step.domain]!, sides[step.other]!];
    if (step.what === 'upcall') upcall(side, step.vcpu % VCPUS, [...step.meanwhile]);
    else doings[step.what](side, other, step);
  }

  for (const step of steps) {
    run(step);
    for (const { guest, model } of sides) {
      for (const port of model.ports.keys()) {
        expect(guest.pending(port), `port ${port} pending`).toBe(model.pending.has(port));
      }
    }
  }
  for (const side of sides) {
    for (let vcpu = 0; vcpu < VCPUS; vcpu++) upcall(side, vcpu);
    // What is still pending is so because it is masked.
    for (const port of side.model.pending) expect(side.model.isDeliverable(port)).toBe(false);
    for (const port of side.model.ports.keys()) {
      const sent = side.model.pending.has(port);
      doings.unmask(side, side, { port } as Step);
      const later = [0, 1].flatMap((vcpu) => {
        const before = taken;
        upcall(side, vcpu);
        return taken - before;
      });
      expect(later[0]! + later[1]!, `taken of port ${port} once it is unmasked`).toBe(Number(sent));
    }
  }
  return taken;
}

/** Mostly ports that are there. */
const plain = {
  domain: fc.nat(1),
  other: fc.nat(1),
  port: fc.nat(MAX_PORT + 1),
  vcpu: fc.oneof({ weight: 9, arbitrary: fc.nat(VCPUS - 1) }, fc.constant(VCPUS)),
  priority: fc.oneof({ weight: 9, arbitrary: fc.nat(15) }, fc.constant(16)),
};
const action = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('send', 'send', 'unmask', 'mask', 'setPriority') },
  { weight: 3, arbitrary: fc.constantFrom('alloc', 'bind', 'ipi', 'close', 'bindVcpu') },
) as fc.Arbitrary<keyof typeof doings>;
const meanwhile = fc.record({ ...plain, what: action, meanwhile: fc.constant<Step[]>([]) });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: meanwhile },
  {
    weight: 1,
    arbitrary: fc.record({
      ...plain,
      what: fc.constant('upcall' as const),
      meanwhile: fc.array(meanwhile, { maxLength: 4 }),
    }),
  },
);

/** Every run begins with channels from end to end, so that there is something to lose. */
const beginning: Step[] = [1, 2].flatMap((port) =>
  (['alloc', 'bind'] as const).map((what, domain): Step => ({
    what,
    domain,
    other: 1 - domain,
    port,
    vcpu: 0,
    priority: 0,
    meanwhile: [],
  })),
);

describe.each([
  ['two-level', 'two-level'],
  ['two-level', 'FIFO'],
  ['FIFO', 'FIFO'],
] as [Kind, Kind][])('%s and %s', (...both) => {
  it('every event is taken once, where and when the model says', () => {
    let taken = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 80, size: 'max' }), (steps) => {
        taken += play(both, [...beginning, ...steps]);
      }),
      { numRuns: 300 },
    );
    expect(taken).toBeGreaterThan(1000);
  });
});
