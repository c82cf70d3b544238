/** Event channels as one would explain them: sets of pending and masked ports, and a list for each queue. Nothing of Xen's. */
import {
  XEN_EACCES,
  XEN_EINVAL,
  XEN_ENOENT,
  XEN_ENOSPC,
  XEN_ENOSYS,
} from '@ringside/gnttab-core/abi';

const DEFAULT_PRIORITY = 7;
const PRIORITIES = 16;

interface Port {
  state: 'unbound' | 'interdomain' | 'ipi';
  /** Who may bind, or is at the other end. */
  remote: ModelDomain;
  /** Interdomain. */
  remotePort: number;
  vcpu: number;
  priority: number;
}

/** A domain of the model. Methods are the hypercalls, and answer what they should. */
export class ModelDomain {
  readonly ports = new Map<number, Port>();
  readonly pending = new Set<number>();
  readonly masked = new Set<number>();
  readonly fifo: boolean;
  readonly vcpus: number;
  readonly maxPort: number;
  /** FIFO: by virtual CPU and priority, ports in the order in which they became deliverable. */
  readonly queues: number[][][];

  constructor(fifo: boolean, vcpus: number, maxPort: number) {
    this.fifo = fifo;
    this.vcpus = vcpus;
    this.maxPort = maxPort;
    this.queues = Array.from({ length: vcpus }, () =>
      Array.from({ length: PRIORITIES }, (): number[] => []),
    );
  }

  #isQueued(port: number): boolean {
    return this.queues.some((queues) => queues.some((queue) => queue.includes(port)));
  }

  /** The lowest port that is free; FIFO: and on no queue any more. */
  #freePort(): number {
    for (let port = 1; port <= this.maxPort; port++) {
      if (!this.ports.has(port) && !this.#isQueued(port)) return port;
    }
    return -XEN_ENOSPC;
  }

  #open(state: Port['state'], remote: ModelDomain, remotePort = 0, vcpu = 0): number {
    const port = this.#freePort();
    if (port < 0) return port;
    this.ports.set(port, { state, remote, remotePort, vcpu, priority: DEFAULT_PRIORITY });
    return port;
  }

  alloc(remote: ModelDomain): number {
    return this.#open('unbound', remote);
  }

  bind(remote: ModelDomain, remotePort: number): number {
    const free = this.#freePort();
    if (free < 0) return free;
    const other = remote.ports.get(remotePort);
    if (other?.state !== 'unbound' || other.remote !== this) return -XEN_EINVAL;
    const port = this.#open('interdomain', remote, remotePort);
    Object.assign(other, { state: 'interdomain', remotePort: port });
    this.raise(port);
    return port;
  }

  ipi(vcpu: number): number {
    return vcpu < this.vcpus ? this.#open('ipi', this, 0, vcpu) : -XEN_ENOENT;
  }

  send(port: number): number {
    const from = this.ports.get(port);
    if (from === undefined) return -XEN_EINVAL;
    if (from.state === 'ipi') this.raise(port);
    if (from.state === 'interdomain') from.remote.raise(from.remotePort);
    return 0;
  }

  raise(port: number): void {
    this.pending.add(port);
    this.#deliver(port);
  }

  #deliver(port: number): void {
    if (!this.fifo || this.masked.has(port) || this.#isQueued(port)) return;
    const { vcpu, priority } = this.ports.get(port)!;
    this.queues[vcpu]![priority]!.push(port);
  }

  /** The guest's own doing. */
  mask(port: number): void {
    this.masked.add(port);
  }

  unmask(port: number): number {
    if (!this.ports.has(port)) return 0;
    this.masked.delete(port);
    if (this.pending.has(port)) this.#deliver(port);
    return 0;
  }

  close(port: number): number {
    const closed = this.ports.get(port);
    if (closed === undefined) return -XEN_EINVAL;
    if (closed.state === 'interdomain') {
      const other = closed.remote.ports.get(closed.remotePort)!;
      Object.assign(other, { state: 'unbound', remote: this });
    }
    this.ports.delete(port);
    this.pending.delete(port);
    return 0;
  }

  setPriority(port: number, priority: number): number {
    if (!this.fifo) return -XEN_ENOSYS;
    const open = this.ports.get(port);
    if (open === undefined) return -XEN_EACCES;
    if (priority >= PRIORITIES) return -XEN_EINVAL;
    open.priority = priority;
    return 0;
  }

  bindVcpu(port: number, vcpu: number): number {
    if (vcpu >= this.vcpus) return -XEN_ENOENT;
    const open = this.ports.get(port);
    if (open === undefined || open.state === 'ipi') return -XEN_EINVAL;
    open.vcpu = vcpu;
    return 0;
  }

  /** Pending, and nothing keeps it from being taken. */
  isDeliverable(port: number): boolean {
    return this.pending.has(port) && !this.masked.has(port);
  }

  /** FIFO: what the virtual CPU takes next: the first of its most urgent queue, unless it was masked or closed meanwhile. */
  next(vcpu: number): number | undefined {
    for (;;) {
      const queue = this.queues[vcpu]!.find(({ length }) => length > 0);
      if (queue === undefined) return undefined;
      const port = queue.shift()!;
      if (this.isDeliverable(port)) return port;
    }
  }
}
