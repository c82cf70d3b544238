/** VIRQs (xen.h, VIRTUAL INTERRUPTS): who may bind which, on which virtual CPU, and who hears of them. */
import { destroyDomain } from '@ringside/gnttab-core';
import {
  EVTCHNSTAT_ipi,
  EVTCHNSTAT_virq,
  NR_VIRQS,
  VIRQ_ARGO,
  VIRQ_CONSOLE,
  VIRQ_DEBUG,
  VIRQ_DOM_EXC,
  VIRQ_TBUF,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
} from '@ringside/gnttab-core/abi';
import {
  sendGlobalVirq,
  sendGuestVirq,
  sendVcpuVirq,
  setVirqHandler,
  virqEnabled,
} from '@ringside/gnttab-core/hypervisor';
import { describe, expect, it } from 'vitest';
import { vms } from './vm.ts';

/** Of each virtual CPU its own. All but these and VIRQ_ARGO are the machine's. */
const OF_EACH_VCPU = [VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU];
const GLOBAL = Array.from({ length: NR_VIRQS }, (_, virq) => virq).filter(
  (virq) => !OF_EACH_VCPU.includes(virq) && virq !== VIRQ_ARGO,
);

/** `a` is domain 0, and so the hardware domain. */
const domains = () => vms({ vcpus: 4 });

describe('EVTCHNOP_bind_virq', () => {
  it('the hardware domain may bind every VIRQ', () => {
    const { a } = domains();
    for (let virq = 0; virq < NR_VIRQS; virq++) expect(a.virq(virq)).toBe(virq + 1);
    expect(a.status(1)).toEqual({ status: EVTCHNSTAT_virq, virq: VIRQ_TIMER });
  });

  it.each([
    ['no VIRQ', NR_VIRQS, 0, -XEN_EINVAL],
    ['no VIRQ, no such virtual CPU', NR_VIRQS, 9, -XEN_EINVAL],
    ['of each virtual CPU', VIRQ_TIMER, 3, 1],
    ['no such virtual CPU', VIRQ_TIMER, 4, -XEN_ENOENT],
    ['of the domain', VIRQ_ARGO, 0, 1],
    ['of the domain, not on the first virtual CPU', VIRQ_ARGO, 1, -XEN_EINVAL],
    ['of the domain, no such virtual CPU', VIRQ_ARGO, 4, -XEN_EINVAL],
    ['of the machine, without being its handler', VIRQ_CONSOLE, 0, -XEN_EBUSY],
    ['of the machine, not on the first virtual CPU', VIRQ_CONSOLE, 1, -XEN_EINVAL],
  ])('%s', (_, virq, vcpu, result) => {
    expect(domains().b.virq(virq, vcpu)).toBe(result);
  });

  it('binds each only once; EBUSY comes before EEXIST, and both before a port is looked for', () => {
    const { a, b, create } = domains();
    expect([b.virq(VIRQ_TIMER, 1), b.virq(VIRQ_TIMER, 1), b.virq(VIRQ_TIMER, 2)]).toEqual([
      1,
      -XEN_EEXIST,
      2,
    ]);
    expect([a.virq(VIRQ_TBUF), a.virq(VIRQ_TBUF), b.virq(VIRQ_TBUF)]).toEqual([
      1,
      -XEN_EEXIST,
      -XEN_EBUSY,
    ]);
    const full = create({ maxPort: 1 });
    full.virq(VIRQ_ARGO);
    expect([full.virq(VIRQ_ARGO), full.virq(VIRQ_TBUF), full.virq(VIRQ_TIMER)]).toEqual([
      -XEN_EEXIST,
      -XEN_EBUSY,
      -XEN_ENOSPC,
    ]);
    expect(virqEnabled(full.domain, VIRQ_TIMER)).toBe(false);
  });

  it('closing the port unbinds it, wherever the port was moved', () => {
    const { a, b } = domains();
    const [timer, buffer] = [b.virq(VIRQ_TIMER, 2), a.virq(VIRQ_TBUF)];
    expect(a.move(buffer, 3)).toBe(0);
    expect([b.close(timer), a.close(buffer)]).toEqual([0, 0]);
    expect([virqEnabled(b.domain, VIRQ_TIMER, 2), virqEnabled(a.domain, VIRQ_TBUF)]).toEqual([
      false,
      false,
    ]);
    expect([b.virq(VIRQ_TIMER, 2), a.virq(VIRQ_TBUF)]).toEqual([timer, buffer]);
  });
});

describe('Xen raises', () => {
  it('a VIRQ of each virtual CPU there, and nothing where it is not bound', () => {
    const { b } = domains();
    const port = b.virq(VIRQ_TIMER, 2);
    for (let vcpu = 0; vcpu < 4; vcpu++) sendVcpuVirq(b.domain, vcpu, VIRQ_TIMER);
    expect([b.up, b.pending(port)]).toEqual([[2], true]);
  });

  it('a VIRQ of the domain, or of the machine, where its port was moved', () => {
    const { a, b } = domains();
    const [argo, console] = [b.virq(VIRQ_ARGO), a.virq(VIRQ_CONSOLE)];
    b.move(argo, 3);
    a.move(console, 1);
    sendGuestVirq(b.domain, VIRQ_ARGO);
    sendGlobalVirq(a.domain.machine, VIRQ_CONSOLE);
    expect([b.up, a.up]).toEqual([[3], [1]]);
  });

  it('tells whether it is bound: those not of each virtual CPU are, on any', () => {
    const { a } = domains();
    a.virq(VIRQ_CONSOLE);
    a.virq(VIRQ_TIMER, 1);
    const on = (virq: number) => [0, 1].map((vcpu) => virqEnabled(a.domain, virq, vcpu));
    expect([on(VIRQ_CONSOLE), on(VIRQ_TIMER)]).toEqual([
      [true, true],
      [false, true],
    ]);
  });

  it('nothing of the machine’s where there is no hardware domain', () => {
    const { machine, a } = vms({ hardwareDomain: false });
    sendGlobalVirq(machine, VIRQ_CONSOLE);
    expect([a.virq(VIRQ_CONSOLE), a.up]).toEqual([-XEN_EBUSY, []]);
  });
});

describe('EVTCHNOP_bind_ipi, EVTCHNOP_bind_vcpu', () => {
  it('an IPI notifies its virtual CPU, and stays there', () => {
    const { b } = domains();
    const port = b.ipi(3);
    expect(b.status(port)).toEqual({ status: EVTCHNSTAT_ipi, vcpu: 3 });
    expect([b.send(port), b.up]).toEqual([0, [3]]);
    expect(b.ipi(4)).toBe(-XEN_ENOENT);
  });

  it.each([
    ['no such virtual CPU, no such port', 64, 4, -XEN_ENOENT],
    ['a port that is not valid', 64, 1, -XEN_EINVAL],
    ['port 0', 0, 1, -XEN_EINVAL],
    ['a free port', 9, 1, -XEN_EINVAL],
    ['an unbound port', 1, 1, 0],
    ['an IPI, even to where it is', 2, 1, -XEN_EINVAL],
    ['a VIRQ of each virtual CPU', 3, 1, -XEN_EINVAL],
    ['a VIRQ of the domain', 4, 1, 0],
  ])('%s', (_, port, vcpu, result) => {
    const { a, b } = domains();
    expect([b.alloc(a.id), b.ipi(1), b.virq(VIRQ_TIMER, 1), b.virq(VIRQ_ARGO)]).toEqual([
      1, 2, 3, 4,
    ]);
    expect(b.move(port, vcpu)).toBe(result);
  });

  it('the own close goes back to virtual CPU 0, the peer’s does not', () => {
    const { a, b } = domains();
    const remote = b.alloc(a.id);
    const local = a.bind(b.id, remote);
    b.move(remote, 2);
    a.close(local);
    expect(b.status(remote)).toMatchObject({ vcpu: 2 });
    b.close(remote);
    expect(b.status(b.alloc(a.id))).not.toHaveProperty('vcpu');
  });

  it('a guest sends through neither VIRQ', () => {
    const { a, b } = domains();
    for (const port of [b.virq(VIRQ_TIMER), b.virq(VIRQ_ARGO)])
      expect(b.send(port)).toBe(-XEN_EINVAL);
    expect(a.send(a.virq(VIRQ_CONSOLE))).toBe(-XEN_EINVAL);
  });
});

describe('XEN_DOMCTL_set_virq_handler', () => {
  it.each([...OF_EACH_VCPU, VIRQ_ARGO, NR_VIRQS, 0xffff_ffff])(
    'VIRQ %i is not the machine’s: EINVAL',
    (virq) => {
      expect(setVirqHandler(domains().b.domain, virq)).toBe(-XEN_EINVAL);
    },
  );

  it.each(GLOBAL)('VIRQ %i goes to its handler, which only then may bind it', (virq) => {
    const { machine, a, b } = domains();
    expect(setVirqHandler(b.domain, virq)).toBe(0);
    expect([a.virq(virq), b.virq(virq)]).toEqual([-XEN_EBUSY, 1]);
    sendGlobalVirq(machine, virq);
    expect([a.up, b.up]).toEqual([[], [0]]);
  });

  it('changes nothing while the handler has it bound; the same handler again is fine', () => {
    const { a, b, c } = domains();
    const port = a.virq(VIRQ_TBUF);
    expect(setVirqHandler(b.domain, VIRQ_TBUF)).toBe(-XEN_EBUSY);
    expect(setVirqHandler(a.domain, VIRQ_TBUF)).toBe(0);
    a.close(port);
    expect(setVirqHandler(b.domain, VIRQ_TBUF)).toBe(0);
    const theirs = b.virq(VIRQ_TBUF);
    expect(setVirqHandler(c.domain, VIRQ_TBUF)).toBe(-XEN_EBUSY);
    expect(setVirqHandler(a.domain, VIRQ_TBUF)).toBe(-XEN_EBUSY);
    b.close(theirs);
    expect(setVirqHandler(a.domain, VIRQ_TBUF)).toBe(0);
  });
});

describe('the death of a domain', () => {
  it('raises VIRQ_DOM_EXC', () => {
    const { a, b } = domains();
    const port = a.virq(VIRQ_DOM_EXC);
    destroyDomain(b.domain);
    expect([a.up, a.pending(port)]).toEqual([[0], true]);
  });

  it('gives what it handled back to the hardware domain, before that', () => {
    const { a, b } = domains();
    setVirqHandler(b.domain, VIRQ_DOM_EXC);
    b.virq(VIRQ_DOM_EXC);
    destroyDomain(b.domain);
    expect([a.up, b.up]).toEqual([[], []]);
    expect(a.virq(VIRQ_DOM_EXC)).toBe(1);
  });

  it('its namesake handles nothing', () => {
    const { a, b, create } = domains();
    setVirqHandler(b.domain, VIRQ_TBUF);
    destroyDomain(b.domain);
    const heir = create({ domid: b.id });
    expect([heir.virq(VIRQ_TBUF), a.virq(VIRQ_TBUF)]).toEqual([-XEN_EBUSY, 1]);
  });

  it('a machine has one hardware domain, domain 0 unless another is said to be', () => {
    const { a, create } = domains();
    expect(() => create({ hardwareDomain: true })).toThrow(RangeError);
    destroyDomain(a.domain);
    expect(create({ hardwareDomain: true }).virq(VIRQ_TBUF)).toBe(1);
  });
});
