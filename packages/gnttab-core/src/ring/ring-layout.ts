/**
 * What travels over a ring: the counterpart of `DEFINE_RING_TYPES(name, request, response)` in io/ring.h. Each device
 * protocol has one layout per ring and ABI; a ring knows nothing else of its protocol.
 */

/**
 * Request and response of one kind of ring, and how they lie in memory. All sizes are multiples of 4.
 *
 * `Req` and `Rsp` are private objects that the ring pools: reading overwrites every member of the object it is given.
 * A slot is decoded from a private copy of its bytes and encoded into zeroed private bytes, so a layout neither sees
 * shared memory nor has to clear padding.
 */
export interface RingLayout<Req, Rsp> {
  /** The header's tag: `blkif`, `netif_tx`, … */
  readonly name: string;
  /** sizeof(union name_sring_entry). */
  readonly slotBytes: number;
  /** sizeof(request): what is copied out of a slot, and written into it. */
  readonly requestBytes: number;
  /** sizeof(response). */
  readonly responseBytes: number;
  newRequest(): Req;
  newResponse(): Rsp;
  readRequest(view: DataView, offsetBytes: number, into: Req): void;
  writeRequest(view: DataView, offsetBytes: number, from: Readonly<Req>): void;
  readResponse(view: DataView, offsetBytes: number, into: Rsp): void;
  writeResponse(view: DataView, offsetBytes: number, from: Readonly<Rsp>): void;
}
