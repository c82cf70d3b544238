/**
 * All that guests could see, as the recording has it. It is changed by the recorded effects alone, and compared with
 * the machine after each step; then it follows the machine, so that one mistake is reported once.
 */
import { INVALID_MFN, ownerOf, type Machine } from '@ringside/gnttab-core';
import { DOMID_INVALID } from '@ringside/gnttab-core/abi';
import {
  entryFrame,
  entryType,
  grantVersion,
  nrGrantFrames,
  nrStatusFrames,
  p2m_invalid,
  p2m_ram_rw,
  p2mEntry,
  sharedFrameAt,
  statusFrameAt,
} from '@ringside/gnttab-core/hypervisor';
import type { Report } from '../difference.ts';
import { readFrame } from '../frames.ts';
import { Page, type Region } from '../page.ts';
import { RecordingError } from '../reader.ts';
import { hexNumber } from '../words.ts';
import { describePage, type PageKind } from './describe-page.ts';
import { type P2mState, p2mWords } from './names.ts';
import type { Guest, World } from './world.ts';

/** A translated guest's gfns that are looked at even if no effect has named them. */
const GFNS = 4096;
const INITIAL_FRAMES = 1;

/** The numbers of a domain, by their names in effects. */
export type Counts = Record<'present' | 'crash' | 'ver' | 'ngt' | 'nst' | 'tot', number>;

const COUNT_NAMES: Readonly<Record<keyof Counts, string>> = {
  present: 'is there',
  crash: 'crashed',
  ver: 'table version',
  ngt: 'grant frames',
  nst: 'status frames',
  tot: 'pages owned',
};

/** What is known of a domain. */
export interface DomainShadow {
  readonly guest: Guest;
  readonly counts: Counts;
  readonly gt: Page[];
  readonly st: Page[];
  /** By gfn; of a PV domain nothing. */
  readonly p2m: Map<number, P2mState>;
}

/** What is known of a frame. */
export interface FrameShadow {
  owner: number;
  readonly page: Page;
  readonly kind: PageKind;
}

/** See above. */
export class Shadow {
  readonly world: World;
  readonly domains = new Map<number, DomainShadow>();
  readonly frames = new Map<number, FrameShadow>();

  /** The state that a trace begins with. */
  constructor(world: World) {
    this.world = world;
    for (const [id, guest] of world.guests) {
      const { frames, mfn_base, type } = guest.header;
      const p2m = new Map<number, P2mState>();
      for (let gfn = 0; type === 'hvm' && gfn < GFNS; gfn++) {
        const isRam = gfn < frames;
        p2m.set(gfn, isRam ? { type: p2m_ram_rw, frame: mfn_base + gfn } : nothing);
      }
      const counts = { present: 1, crash: 0, ver: 1, ngt: 0, nst: 0, tot: frames };
      const domain = { guest, counts, gt: [], st: [], p2m };
      this.domains.set(id, domain);
      resize(domain, 'ngt', INITIAL_FRAMES);
      for (let gfn = 0; gfn < frames; gfn++) this.track(mfn_base + gfn, id);
      guest.l1Frames.forEach((frame, index) => this.#typeAsL1(frame, guest, index));
    }
  }

  #typeAsL1(frame: number, { header }: Guest, index: number): void {
    const kind = { name: 'l1', dom: header.id, index, va: this.world.l1Address(index) } as const;
    this.frames.set(frame, { owner: header.id, page: new Page(), kind });
  }

  /** From now on this frame, all zeros, is one of those that are compared. */
  track(frame: number, owner: number): void {
    this.frames.set(frame, { owner, page: new Page(), kind: { name: 'ram', mfn: frame } });
  }

  /** Throws RecordingError if there is no such domain. */
  domain(domid: number): DomainShadow {
    const domain = this.domains.get(domid);
    if (domain === undefined) throw new RecordingError(`the trace has no domain ${domid}`);
    return domain;
  }

  /** Throws RecordingError if the recording does not say whose frame it is. */
  frame(mfn: number): FrameShadow {
    const frame = this.frames.get(mfn);
    if (frame === undefined) throw new RecordingError(`the trace has no frame ${hexNumber(mfn)}`);
    return frame;
  }

  /** A domain's grant or status frames. */
  table(domid: number, space: 'gt' | 'st'): Region {
    const { guest, ...pages } = this.domain(domid);
    const [count, frameAt] =
      space === 'gt' ? [nrGrantFrames, sharedFrameAt] : [nrStatusFrames, statusFrameAt];
    const { domain } = guest;
    return {
      name: `domain ${domid} ${space}`,
      pages: pages[space],
      frame: (index) =>
        this.world.isPresent(guest) && index < count(domain) ? frameAt(domain, index) : INVALID_MFN,
    };
  }

  /** One frame. */
  ram(mfn: number): Region {
    const { page } = this.frame(mfn);
    return { name: `frame ${hexNumber(mfn)}`, pages: [page], frame: () => mfn };
  }

  /** Reports all that is not as it should be, and takes it as it is from then on. */
  compare(report: Report): void {
    for (const domain of this.domains.values()) this.#compareDomain(domain, report);
    const { machine } = this.world;
    for (const [mfn, frame] of this.frames) {
      const owner = owningDomain(machine, mfn);
      if (owner !== frame.owner) {
        report(`owner of frame ${hexNumber(mfn)}`, String(frame.owner), String(owner));
        frame.owner = owner;
      }
      this.#comparePage(frame.page, mfn, frame.kind, report);
    }
  }

  #compareDomain(domain: DomainShadow, report: Report): void {
    const { guest, counts, gt, st } = domain;
    const { id } = guest.header;
    const isPresent = this.world.isPresent(guest);
    const now = isPresent ? countsOf(guest) : { ...counts, present: 0, tot: 0 };
    for (const name of keysOf(COUNT_NAMES)) {
      if (now[name] === counts[name]) continue;
      report(`domain ${id}: ${COUNT_NAMES[name]}`, String(counts[name]), String(now[name]));
      if (name === 'ngt' || name === 'nst') resize(domain, name, now[name]);
      else counts[name] = now[name];
    }
    if (!isPresent) return;
    for (const [index, page] of gt.entries()) {
      const kind = { name: 'gt', dom: id, index, version: counts.ver } as const;
      this.#comparePage(page, sharedFrameAt(guest.domain, index), kind, report);
    }
    for (const [index, page] of st.entries()) {
      const kind = { name: 'st', dom: id, index } as const;
      this.#comparePage(page, statusFrameAt(guest.domain, index), kind, report);
    }
    this.#compareP2m(domain, report);
  }

  #comparePage(page: Page, frame: number, kind: PageKind, report: Report): void {
    const { machine } = this.world;
    if (page.equals(machine, frame)) return;
    const got = readFrame(machine, frame);
    describePage(kind, page.bytes, got, report);
    page.bytes.set(got);
  }

  #compareP2m({ guest, p2m }: DomainShadow, report: Report): void {
    for (const [gfn, state] of p2m) {
      const entry = p2mEntry(guest.domain, gfn);
      const type = entryType(entry);
      const frame = type === p2m_invalid ? 0 : entryFrame(entry);
      if (type === state.type && frame === state.frame) continue;
      const now = { type, frame };
      report(`domain ${guest.header.id} gfn ${gfn}`, p2mWords(state), p2mWords(now));
      p2m.set(gfn, now);
    }
  }
}

/** What is behind a gfn with nothing behind it. */
export const nothing: P2mState = { type: p2m_invalid, frame: 0 };

/** Sets the number of grant or status frames; new ones are zero. */
export function resize(domain: DomainShadow, name: 'ngt' | 'nst', count: number): void {
  const pages = name === 'ngt' ? domain.gt : domain.st;
  while (pages.length < count) pages.push(new Page());
  pages.length = count;
  domain.counts[name] = count;
}

const countsOf = ({ domain }: Guest): Counts => ({
  present: 1,
  crash: domain.crashed ? 1 : 0,
  ver: grantVersion(domain),
  ngt: nrGrantFrames(domain),
  nst: nrStatusFrames(domain),
  tot: domain.totPages,
});

/** -1 if it is nobody's. */
export function owningDomain(machine: Machine, mfn: number): number {
  const owner = ownerOf(machine, mfn);
  return owner === DOMID_INVALID ? -1 : owner;
}

const keysOf = <K extends string>(table: Readonly<Record<K, unknown>>): K[] =>
  Object.keys(table) as K[];
