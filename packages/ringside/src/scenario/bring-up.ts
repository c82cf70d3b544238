/** Bringing up a driver domain and its guests, down to connected devices; what the demo and the commands begin with. */
import { type Blkfront, connectBlkfront, type Disk, startBlkback } from '@ringside/blkif';
import type { Counters, Machine } from '@ringside/gnttab-core';
import { connectNetfront, type Mode, type Netfront, startNetback } from '@ringside/netif';
import { type RunningDomain, startToolstack, type Toolstack } from '../toolstack/index.ts';

/** A host with a driver domain that runs both backends. */
export interface Host {
  readonly machine: Machine;
  readonly toolstack: Toolstack;
  readonly driver: RunningDomain;
}

/** How `bringUpHost` sets a host up. */
export interface HostOptions {
  /** Pages of the driver domain. Default: 4096. */
  readonly driverPages?: number;
  /** See `VifBridgeOptions`. */
  readonly ageingNs?: number;
}

/** Starts domain 0, the driver domain and its backends. */
export async function bringUpHost(machine: Machine, options: HostOptions = {}): Promise<Host> {
  const { driverPages = 4096, ageingNs } = options;
  const toolstack = await startToolstack(machine);
  const driver = await toolstack.createDomain({ name: 'driver', pages: driverPages });
  const { guest, store } = driver;
  startBlkback({ guest, store, openDisk: toolstack.openDisk });
  startNetback({ guest, store, ageingNs });
  return { machine, toolstack, driver };
}

/** Attaches a disk to a guest and connects it. Rejects as `connectBlkfront` does. */
export async function plugDisk(host: Host, front: RunningDomain, disk: Disk): Promise<Blkfront> {
  const device = await host.toolstack.attachDisk({ front, back: host.driver, disk });
  const blkfront = await connectBlkfront({
    guest: front.guest,
    store: front.store,
    id: device.id,
  });
  const { path } = blkfront.device;
  host.machine.log.info({ domain: front.guest.id, path, ...blkfront.properties }, 'vbd connected');
  return blkfront;
}

/** Attaches a vif to a guest and connects it. Rejects as `connectNetfront` does. */
export async function plugVif(
  host: Host,
  front: RunningDomain,
  modes: { readonly rx?: Mode | undefined; readonly tx?: Mode | undefined } = {},
): Promise<Netfront> {
  const device = await host.toolstack.attachVif({ front, back: host.driver });
  const netfront = await connectNetfront({
    guest: front.guest,
    store: front.store,
    handle: device.id,
    ...modes,
  });
  const { mac, modes: agreed } = netfront;
  host.machine.log.info({ domain: front.guest.id, mac, ...agreed }, 'vif connected');
  return netfront;
}

/** What one domain asked of the hypervisor, from its creation on. */
export interface DomainReport {
  readonly domid: number;
  readonly name: string;
  readonly counters: Counters;
}

/** The counters of a domain as they stand. */
export const reportOf = ({ guest, name }: RunningDomain): DomainReport => ({
  domid: guest.id,
  name,
  counters: guest.domain.counters(),
});
