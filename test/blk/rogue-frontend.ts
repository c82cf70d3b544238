/** A frontend that does the handshake by hand and then puts on the ring whatever a test wants. */

import {
  blkifLayout,
  connectBlkfront,
  startBlkback,
  type BlkifRequest,
  type BlkifResponse,
  type Disk,
} from '@ringside/blkif';
import { FrontRing, type EventPort, type GrantRef, type GuestPage } from '@ringside/gnttab-core';
import { expect } from 'vitest';
import {
  attach,
  backPath,
  frontPath,
  look,
  resources,
  rig,
  settled,
  VBD,
  type Rig,
} from './rig.ts';

export class RogueFrontend {
  readonly rig: Rig;
  readonly page: GuestPage;
  readonly ring: FrontRing<BlkifRequest, BlkifResponse>;
  readonly port: EventPort;
  readonly ringRef: GrantRef;

  constructor(rig: Rig) {
    const { guest, driver } = rig;
    this.rig = rig;
    this.page = guest.memory.allocPage();
    this.ring = FrontRing.create(guest.memory, this.page.va, blkifLayout('x86_64'));
    this.ringRef = guest.grants.grantForeignAccess(driver.id, this.page);
    this.port = guest.events.allocUnbound(driver.id);
  }

  /** Publish the ring, with other keys if wanted, and let the backend act on it. */
  async connect(keys: Record<string, string | undefined> = {}): Promise<void> {
    await this.write({
      'ring-ref': String(this.ringRef),
      'event-channel': String(this.port.port),
      protocol: 'x86_64-abi',
      ...keys,
    });
    await this.setState('3');
  }

  async write(keys: Record<string, string | undefined>): Promise<void> {
    const { guestStore } = this.rig;
    for (const [name, value] of Object.entries(keys)) {
      if (value !== undefined) await guestStore.write(`${frontPath(this.rig)}/${name}`, value);
    }
  }

  async setState(state: string): Promise<void> {
    await this.write({ state });
    await settled(this.rig);
  }

  /** Put a request; what is not said is a read of sector 0 without segments. */
  put(fields: RequestFields): void {
    const { id = 0n, sector = 0n, segments = [], ...rest } = fields;
    const request = {
      operation: 0,
      nr_segments: segments.length,
      handle: 0,
      ...rest,
      id_lo: Number(id & 0xffff_ffffn),
      id_hi: Number(id >> 32n),
      sector_number_lo: Number(sector & 0xffff_ffffn),
      sector_number_hi: Number(sector >> 32n),
      seg: Array.from(
        { length: 11 },
        (_, i) => segments[i] ?? { gref: 0, first_sect: 0, last_sect: 0 },
      ),
    };
    this.ring.put(request);
  }

  /** Push what was put, and return what the backend answers once nothing moves any more. */
  async exchange(): Promise<Answer[]> {
    this.ring.pushRequests();
    this.port.notify();
    await settled(this.rig);
    const drained = this.ring.drainResponses();
    return drained.items.map(({ id_lo, id_hi, operation, status }) => ({
      id: (BigInt(id_hi) << 32n) | BigInt(id_lo),
      operation,
      status,
    }));
  }

  /** A page filled with one byte, and its grant. */
  buffer(fill: number, options: { readonly?: boolean } = {}): Buffer {
    const { guest, driver } = this.rig;
    const page = guest.memory.allocPage();
    guest.memory.bytes(page.va, 4096, 'write').fill(fill);
    return { page, gref: guest.grants.grantForeignAccess(driver.id, page, options) };
  }

  bytes({ page }: { page: GuestPage }): Uint8Array {
    return this.rig.guest.memory.bytes(page.va, 4096, 'read').slice();
  }
}

export interface Buffer {
  readonly page: GuestPage;
  readonly gref: GrantRef;
}

export interface Answer {
  readonly id: bigint;
  readonly operation: number;
  readonly status: number;
}

export interface RequestFields {
  operation?: number;
  nr_segments?: number;
  handle?: number;
  id?: bigint;
  sector?: bigint;
  segments?: { gref: number; first_sect: number; last_sect: number }[];
}

export const segment = (gref: number, first_sect = 0, last_sect = 7) => ({
  gref,
  first_sect,
  last_sect,
});

export const SECTORS = 256;
/** Sector n holds n in every byte. */
export const content = () => Uint8Array.from({ length: SECTORS * 512 }, (_, i) => i >>> 9);

/** A driver domain that serves this disk to a frontend that has not begun yet. */
export async function backend(disk: Disk, mode: 'r' | 'w' = 'w') {
  const parts = await rig({ seed: 1 });
  const { driver, driverStore } = parts;
  const blkback = startBlkback({ guest: driver, store: driverStore, openDisk: () => disk });
  await attach(parts, { mode });
  await settled(parts);
  return { parts, blkback };
}

/** The same, with a frontend connected that a test plays. */
export async function connectedRogue(disk: Disk, mode: 'r' | 'w' = 'w') {
  const { parts, blkback } = await backend(disk, mode);
  const before = resources(parts);
  const rogue = new RogueFrontend(parts);
  await rogue.connect();
  expect(await look(parts, `${backPath(parts)}/state`)).toBe('4');
  return { parts, blkback, rogue, before };
}

/** All bytes of a disk that answers at once. */
export const contentOf = (disk: Disk) => {
  const bytes = new Uint8Array(disk.sizeBytes);
  void disk.read(0, [bytes]);
  return bytes;
};

/** Whatever happened, an honest frontend can use the device afterwards. */
export async function honestAfterwards(parts: Rig): Promise<void> {
  const { guestStore, guest } = parts;
  await guestStore.write(`${frontPath(parts)}/state`, '6');
  await settled(parts);
  await guestStore.write(`${frontPath(parts)}/state`, '1');
  await settled(parts);
  const front = await connectBlkfront({ guest, store: guestStore, id: VBD });
  expect((await front.read({ sector: 8, sectors: 1 }))[0]).toBe(8);
  await front.close();
  await settled(parts);
  expect(parts.driver.mappings.live).toBe(0);
}
