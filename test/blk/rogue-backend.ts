/** A backend that does the handshake by hand and then answers whatever a test wants. */

import {
  blkifLayout,
  connectBlkfront,
  type Blkfront,
  type BlkifRequest,
  type BlkifResponse,
} from '@ringside/blkif';
import {
  BackRing,
  grantRef,
  port,
  type EventPort,
  type ForeignMapping,
} from '@ringside/gnttab-core';
import { attach, backPath, frontPath, rig, settled, VBD, type Rig } from './rig.ts';

/** Keys of an honest disk of 1000 sectors. */
const HONEST = {
  sectors: '1000',
  'sector-size': '512',
  'physical-sector-size': '512',
  info: '0',
  'feature-flush-cache': '1',
};

export interface SeenRequest {
  readonly id: number;
  readonly operation: number;
  readonly sector: number;
  readonly segments: readonly { gref: number; first_sect: number; last_sect: number }[];
}

export class RogueBackend {
  readonly rig: Rig;
  readonly ring: BackRing<BlkifRequest, BlkifResponse>;
  readonly port: EventPort;
  readonly mapping: ForeignMapping;

  private constructor(rig: Rig, ringRef: number, eventChannel: number) {
    const { driver, guest } = rig;
    this.rig = rig;
    this.mapping = driver.mappings.map(guest.id, grantRef(ringRef));
    this.port = driver.events.bindInterdomain(guest.id, port(eventChannel));
    this.ring = BackRing.attach(driver.memory, this.mapping.va, blkifLayout('x86_64'));
  }

  static async attach(rig: Rig): Promise<RogueBackend> {
    const read = async (name: string) =>
      Number(await rig.toolstack.read(`${frontPath(rig)}/${name}`));
    return new RogueBackend(rig, await read('ring-ref'), await read('event-channel'));
  }

  /** The requests that came since the last time. */
  async requests(): Promise<SeenRequest[]> {
    await settled(this.rig);
    return this.ring.drainRequests().items.map((request) => ({
      id: request.id_lo,
      operation: request.operation,
      sector: request.sector_number_lo,
      segments: request.seg.slice(0, request.nr_segments).map((segment) => ({ ...segment })),
    }));
  }

  /** Put a response without any check, and tell the frontend. */
  async answer(
    ...responses: { id: bigint | number; operation: number; status: number }[]
  ): Promise<void> {
    for (const { id, operation, status } of responses) {
      const whole = BigInt(id);
      this.ring.writeResponse(this.ring.rspProdPvt, {
        id_lo: Number(whole & 0xffff_ffffn),
        id_hi: Number(whole >> 32n),
        operation,
        status,
      });
      this.ring.rspProdPvt = (this.ring.rspProdPvt + 1) % 2 ** 32;
    }
    this.ring.pushResponses();
    this.port.notify();
    await settled(this.rig);
  }

  async setState(state: string): Promise<void> {
    await this.rig.driverStore.write(`${backPath(this.rig)}/state`, state);
    await settled(this.rig);
  }
}

/** A frontend that is about to connect to a backend which publishes these keys besides the honest ones. */
export async function connecting(keys: Record<string, string | undefined> = {}) {
  const parts = await rig({ seed: 2 });
  await attach(parts);
  const { driverStore, guest, guestStore } = parts;
  const set = (name: string, value: string) =>
    driverStore.write(`${backPath(parts)}/${name}`, value);
  for (const [name, value] of Object.entries({ ...HONEST, ...keys })) {
    if (value !== undefined) await set(name, value);
  }
  await set('state', '2');
  const disk = connectBlkfront({ guest, store: guestStore, id: VBD });
  disk.catch(() => undefined);
  await settled(parts);
  return { parts, disk, set };
}

/** A frontend connected to a backend that the test plays. */
export async function connectedBackend(): Promise<{
  parts: Rig;
  disk: Blkfront;
  backend: RogueBackend;
}> {
  const { parts, disk, set } = await connecting();
  const backend = await RogueBackend.attach(parts);
  await set('state', '4');
  return { parts, disk: await disk, backend };
}

/** What became of a promise, once nothing moves any more. */
export function outcome<T>(promise: Promise<T>): { value?: T; error?: unknown } {
  const result: { value?: T; error?: unknown } = {};
  promise.then(
    (value) => (result.value = value),
    (error: unknown) => (result.error = error),
  );
  return result;
}
