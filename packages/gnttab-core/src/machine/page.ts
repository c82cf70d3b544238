/** Page frames and their numbers. Sources: xen.h (mfn, gfn, pfn). */

export const PAGE_SHIFT = 12;
/** Bytes in a page frame. */
export const PAGE_SIZE = 1 << PAGE_SHIFT;

/** `mfn >>> BANK_SHIFT` names the bank, so a bank holds at most 65,536 pages (256 MiB). */
export const BANK_SHIFT = 16;
export const BANK_PAGES = 1 << BANK_SHIFT;

declare const brand: unique symbol;
type Brand<Name extends string> = number & { readonly [brand]: Name };

/** Guest frame number: a page as its domain counts them. */
export type Gfn = Brand<'Gfn'>;
/** Domain id, 0 to DOMID_FIRST_RESERVED - 1, or one of the special ids of xen.h. */
export type DomId = Brand<'DomId'>;
/** Index of an entry in a domain's grant table (grant_ref_t, grant_table.h). */
export type GrantRef = Brand<'GrantRef'>;
/** Event channel port (evtchn_port_t, event_channel.h). */
export type Port = Brand<'Port'>;

/** Largest frame number the machine can name: 4096 banks of 65,536 pages. */
const MAX_FRAME = 2 ** 28 - 1;

function inRange(value: number, max: number, what: string): number {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${what} ${value} is not a whole number from 0 to ${max}`);
  }
  return value;
}

export const gfn = (value: number): Gfn => inRange(value, MAX_FRAME, 'gfn') as Gfn;
export const domId = (value: number): DomId => inRange(value, 0xffff, 'domain id') as DomId;
export const grantRef = (value: number): GrantRef =>
  inRange(value, 0xffff_ffff, 'grant reference') as GrantRef;
export const port = (value: number): Port => inRange(value, 0xffff_ffff, 'port') as Port;

/** A byte of machine memory: `mfn * 4096 + offset`. */
export type MachineAddress = number;

/** Byte offset of a machine address inside its bank. */
export const bankOffset = (address: MachineAddress): number => address & 0x0fff_ffff;

/** The machine address where a frame begins. */
export const frameAddress = (frame: number): MachineAddress => frame * PAGE_SIZE;
