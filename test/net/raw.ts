/** The two ends of a vif by hand: they do with their rings whatever a test wants. */
import {
  BackRing,
  domId,
  FrontRing,
  grantRef,
  port as portNumber,
  type EventPort,
  type ForeignMapping,
  type GuestPage,
} from '@ringside/gnttab-core';
import {
  backendKeys,
  frontendKeys,
  netifRxLayout,
  netifTxLayout,
  type NetifRxRequest,
  type NetifRxResponse,
  type NetifTxRequest,
  type NetifTxResponse,
} from '@ringside/netif';
import { XenbusBackend, XenbusFrontend } from '@ringside/xenstore-lite';
import { XenbusStateConnected, XenbusStateInitWait } from '@ringside/xenstore-lite/abi';
import { attach, type Member, type Rig } from './rig.ts';

export interface RawFront {
  readonly member: Member;
  readonly device: XenbusFrontend;
  readonly tx: FrontRing<NetifTxRequest, NetifTxResponse>;
  readonly rx: FrontRing<NetifRxRequest, NetifRxResponse>;
  /** With tx by flip: where frames are handed over. */
  readonly txFlip: BackRing<NetifRxRequest, NetifRxResponse> | undefined;
  readonly port: EventPort;
  /** A page with some bytes in it, granted to the backend. */
  grant(bytes: Uint8Array, readonly?: boolean): { ref: number; page: GuestPage };
  /** Puts transmit requests on the ring, and tells the backend. */
  transmit(...requests: Partial<NetifTxRequest>[]): void;
  /** Puts receive requests on the ring, and tells the backend. */
  post(...refs: number[]): void;
}

/** A frontend that publishes its rings, says Connected, and then does nothing by itself. */
export async function rawFront(
  rig: Rig,
  member: Member,
  { rxCopy = true, txFlip = false, scatterGather = true } = {},
): Promise<RawFront> {
  await attach(rig, member);
  const { guest } = member;
  const { memory, grants } = guest;
  const peer = rig.driver.guest.id;
  const device = await XenbusFrontend.open(member.store, 'device/vif/0');
  await device.waitForOtherEnd([XenbusStateInitWait]);
  const port = guest.events.allocUnbound(peer);
  const [txPage, rxPage, flipPage] = memory.allocPages(3) as [GuestPage, GuestPage, GuestPage];
  const tx = FrontRing.create(memory, txPage.va, netifTxLayout);
  const rx = FrontRing.create(memory, rxPage.va, netifRxLayout);
  await device.writeOwn(frontendKeys, {
    'tx-ring-ref': grants.grantForeignAccess(peer, txPage),
    'rx-ring-ref': grants.grantForeignAccess(peer, rxPage),
    'event-channel': port.port,
    'request-rx-copy': rxCopy,
    'feature-rx-notify': true,
    'feature-sg': scatterGather,
    'tx-flip-ring-ref': txFlip ? grants.grantForeignAccess(peer, flipPage) : undefined,
  });
  await device.switchState(XenbusStateConnected);
  await device.waitForOtherEnd([XenbusStateConnected]);
  return {
    member,
    device,
    tx,
    rx,
    txFlip: txFlip ? BackRing.attach(memory, flipPage.va, netifRxLayout) : undefined,
    port,
    grant(bytes, readonly = false) {
      const page = memory.allocPage();
      memory.write(page.va, bytes);
      return { ref: grants.grantForeignAccess(peer, page, { readonly }), page };
    },
    transmit(...requests) {
      for (const request of requests) {
        tx.put({ gref: 0, offset: 0, flags: 0, id: tx.reqProdPvt & 0xffff, size: 0, ...request });
      }
      tx.pushRequests();
      port.notify();
    },
    post(...refs) {
      for (const gref of refs) rx.put({ id: rx.reqProdPvt & 0xffff, gref });
      rx.pushRequests();
      port.notify();
    },
  };
}

export interface RawBack {
  readonly device: XenbusBackend;
  readonly tx: BackRing<NetifTxRequest, NetifTxResponse>;
  readonly rx: BackRing<NetifRxRequest, NetifRxResponse>;
  readonly port: EventPort;
  readonly mappings: readonly ForeignMapping[];
  /** Answers a transmit request, or a receive request, and tells the frontend. */
  answerTx(...responses: NetifTxResponse[]): void;
  answerRx(...responses: Partial<NetifRxResponse>[]): void;
}

/**
 * A backend that offers everything, maps what the frontend publishes, says Connected, and then does nothing by itself.
 * The device is attached, and the frontend has to begin in the meantime.
 */
export async function rawBack(rig: Rig, member: Member, handle = 0): Promise<RawBack> {
  const { guest, store } = rig.driver;
  const peer = domId(member.guest.id);
  const device = await XenbusBackend.open(store, `backend/vif/${peer}/${handle}`);
  await device.writeOwn(backendKeys, {
    'feature-rx-copy': true,
    'feature-rx-flip': true,
    'feature-tx-flip': true,
    'feature-sg': true,
  });
  await device.switchState(XenbusStateInitWait);
  await device.waitForOtherEnd([XenbusStateConnected]);
  const keys = await device.readOtherEnd(frontendKeys);
  const mappings = [keys['tx-ring-ref'], keys['rx-ring-ref']].map((ref) =>
    guest.mappings.map(peer, grantRef(ref)),
  );
  const [tx, rx] = [
    BackRing.attach(guest.memory, mappings[0]!.va, netifTxLayout),
    BackRing.attach(guest.memory, mappings[1]!.va, netifRxLayout),
  ];
  const port = guest.events.bindInterdomain(peer, portNumber(keys['event-channel']));
  await device.switchState(XenbusStateConnected);
  return {
    device,
    tx,
    rx,
    port,
    mappings,
    answerTx(...responses) {
      for (const response of responses) tx.put(response);
      tx.pushResponses();
      port.notify();
    },
    answerRx(...responses) {
      for (const response of responses) {
        rx.put({ id: 0, offset: 0, flags: 0, status: 0, ...response });
      }
      rx.pushResponses();
      port.notify();
    },
  };
}
