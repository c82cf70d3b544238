/** What `xl` is to a host: creates and destroys domains, attaches and detaches devices, all through domain 0's store. */
import type { Disk, OpenDisk } from '@ringside/blkif';
import { createDomain, destroyDomain, type Machine, type Random } from '@ringside/gnttab-core';
import { DiskError } from '@ringside/blkif';
import { formatMac } from '@ringside/netif';
import { homeOf, InProcessXenStore, XenStore, XenStoreClient } from '@ringside/xenstore-lite';
import { addDevice, type AttachedDevice, closeDevice, type Nodes, removeDevice } from './device.ts';
import { buildRunningDomain, type NewDomainOptions, type RunningDomain } from './domain.ts';
import { vbdNumber } from './vdev.ts';

/** Pages of domain 0, which runs nothing but the toolstack. */
const DOM0_PAGES = 16;
/** Organisation that Xen's addresses begin with, `00:16:3e`. */
const XEN_OUI = 0x00_16_3e;

/** A disk for a guest, in xl's words. */
export interface AttachDiskOptions {
  readonly front: RunningDomain;
  readonly back: RunningDomain;
  /** What the backend shall serve. Whoever runs the backend opens it with `openDisk` of this toolstack. */
  readonly disk: Disk;
  /** Name in the guest. Default: `xvda`. */
  readonly vdev?: string;
  /** What the backend finds the disk by. Default: a name made from the domain and the vdev. */
  readonly params?: string;
  /** Default: `r` if the disk is read-only. */
  readonly mode?: 'r' | 'w';
}

/** A vif for a guest, in xl's words. */
export interface AttachVifOptions {
  readonly front: RunningDomain;
  readonly back: RunningDomain;
  /** Number of the vif in its guest. Default: 0. */
  readonly handle?: number;
  /** Name of the bridge in the driver domain. Default: `xenbr0`. */
  readonly bridge?: string;
  /** `00:16:3e:01:02:03`. Default: one with Xen's prefix, from the machine's random numbers. */
  readonly mac?: string;
}

/** Brings up domain 0 and its store on a machine that has no domain yet. */
export async function startToolstack(machine: Machine): Promise<Toolstack> {
  createDomain(machine, { pages: DOM0_PAGES, privileged: true, domid: 0 });
  const toolstack = new Toolstack(machine);
  await toolstack.store.write(`${homeOf(0)}/name`, 'Domain-0');
  await toolstack.store.write(`${homeOf(0)}/domid`, '0');
  return toolstack;
}

/** See {@link startToolstack}. */
export class Toolstack {
  readonly machine: Machine;
  readonly xenstore: InProcessXenStore;
  /** Domain 0's connection. */
  readonly store: XenStoreClient;
  readonly #random: Random;
  readonly #devices = new Set<AttachedDevice>();
  /** Disks by what the store calls them. */
  readonly #disks = new Map<string, Disk>();

  constructor(machine: Machine) {
    this.machine = machine;
    const store = new XenStore({ domainExists: (id) => machine.domainById(id) !== undefined });
    this.xenstore = new InProcessXenStore(store, machine.scheduler);
    this.store = new XenStoreClient(this.xenstore.connect(0));
    this.#random = machine.random.fork('toolstack');
  }

  /** The devices that are attached. */
  get devices(): ReadonlySet<AttachedDevice> {
    return this.#devices;
  }

  /** Creates and boots a domain. Throws OutOfMemory, RangeError. */
  async createDomain(options: NewDomainOptions): Promise<RunningDomain> {
    const { machine, xenstore, store } = this;
    const domain = await buildRunningDomain(machine, xenstore, store, this.#random, options);
    const { id } = domain.guest;
    machine.log.info({ domain: id, name: domain.name, pages: options.pages }, 'domain created');
    return domain;
  }

  /** For `startBlkback`: finds the disk that `attachDisk` was given. */
  readonly openDisk: OpenDisk = (params) => {
    const disk = this.#disks.get(params);
    if (disk === undefined) throw new DiskError(`${params}: no such disk is attached`);
    return disk;
  };

  /** Writes what `xl block-attach` writes. The drivers do the rest. Rejects with RangeError if `params` is taken. */
  async attachDisk(options: AttachDiskOptions): Promise<AttachedDevice> {
    const { front, back, disk, vdev = 'xvda', mode = disk.readOnly ? 'r' : 'w' } = options;
    const id = vbdNumber(vdev);
    const { params = `${front.name}-${vdev}` } = options;
    if (this.#disks.has(params)) throw new RangeError(`${params}: this disk is attached already`);
    this.#disks.set(params, disk);
    try {
      return await this.#attach(
        { type: 'vbd', id, front: front.guest.id, back: back.guest.id, params },
        { 'virtual-device': id, 'device-type': 'disk' },
        { params, removable: 0, bootable: 1, dev: vdev, type: 'file', mode, 'device-type': 'disk' },
      );
    } catch (error) {
      this.#disks.delete(params);
      throw error;
    }
  }

  /** Writes what `xl network-attach` writes. The drivers do the rest. */
  attachVif(options: AttachVifOptions): Promise<AttachedDevice> {
    const { front, back, handle = 0, bridge = 'xenbr0' } = options;
    const mac = options.mac ?? formatMac(XEN_OUI * 2 ** 24 + this.#random.below(2 ** 24));
    return this.#attach(
      { type: 'vif', id: handle, front: front.guest.id, back: back.guest.id },
      { handle, mac },
      { handle, mac, bridge, script: '/etc/xen/scripts/vif-bridge', type: 'vif' },
    );
  }

  async #attach(device: AttachedDevice, frontend: Nodes, backend: Nodes): Promise<AttachedDevice> {
    await addDevice(this.store, device, { frontend, backend });
    this.#devices.add(device);
    this.machine.log.info({ ...device }, 'device attached');
    return device;
  }

  /**
   * Detaches a device: waits until both ends have parted, as long as that takes; or with `force` removes its directories
   * at once.
   */
  async detach(device: AttachedDevice, { force = false } = {}): Promise<void> {
    await (force ? removeDevice : closeDevice)(this.store, device);
    this.#devices.delete(device);
    if (device.params !== undefined) this.#disks.delete(device.params);
    this.machine.log.info({ ...device }, 'device detached');
  }

  /** Destroys a domain, as `xl destroy` does: its devices go without being asked, then its memory, then its home. */
  async destroy({ guest }: RunningDomain): Promise<void> {
    const { id } = guest;
    for (const device of this.#devices) {
      if (device.front === id || device.back === id) await this.detach(device, { force: true });
    }
    const vm = await this.store.readIfExists(`${homeOf(id)}/vm`);
    destroyDomain(guest.domain);
    this.machine.log.info({ domain: id }, 'domain destroyed');
    this.xenstore.domainDestroyed(id);
    await this.store.transaction(async (tx) => {
      for (const path of [homeOf(id), `/libxl/${id}`, ...(vm === undefined ? [] : [vm])]) {
        if (await tx.exists(path)) await tx.rm(path);
      }
    });
  }
}
