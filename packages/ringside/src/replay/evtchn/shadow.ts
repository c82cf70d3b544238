/**
 * All that guests could see, as the recording has it. It is changed by the recorded effects alone, and compared with
 * the machine after each step; then it follows the machine, so that one mistake is reported once.
 */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import { writableTypeCount } from '@ringside/gnttab-core/hypervisor';
import type { Report } from '../difference.ts';
import { readFrame } from '../frames.ts';
import { forEachPage, Page, type Region } from '../page.ts';
import { RecordingError } from '../reader.ts';
import { hexNumber } from '../words.ts';
import { compareEvents } from './events.ts';
import { describeNamed, type NamedBytes } from './named-bytes.ts';
import type { ActingStep } from './recording.ts';
import { sharedInfoField } from './shared-info.ts';
import { FrameUses } from './uses.ts';
import type { Guest, World } from './world.ts';

interface FrameShadow {
  readonly page: Page;
  /** Writable type references. */
  pins: number;
}

interface DomainShadow {
  readonly guest: Guest;
  readonly sharedInfo: Page;
  /** Its memory, by gfn. */
  readonly frames: readonly FrameShadow[];
}

/** See above. */
export class Shadow {
  readonly world: World;
  readonly #domains = new Map<number, DomainShadow>();
  readonly #uses: FrameUses;

  /** The state that a trace begins with: all zeros. */
  constructor(world: World) {
    this.world = world;
    this.#uses = new FrameUses(world);
    for (const [id, guest] of world.guests) {
      const frames = Array.from({ length: guest.header.frames }, () => ({
        page: new Page(),
        pins: 0,
      }));
      this.#domains.set(id, { guest, sharedInfo: new Page(), frames });
    }
  }

  /** A domain's shared info page. Throws RecordingError if there is no such domain. */
  sharedInfo(domid: number): Region {
    const { guest, sharedInfo } = this.#domain(domid);
    const name = `domain ${domid} shared info`;
    return { name, pages: [sharedInfo], frame: () => guest.domain.sharedInfo };
  }

  /** One frame. Throws RecordingError if it is no domain's. */
  ram(mfn: number): Region {
    const { page } = this.#frame(mfn);
    return { name: `frame ${hexNumber(mfn)}`, pages: [page], frame: () => mfn };
  }

  #domain(domid: number): DomainShadow {
    const domain = this.#domains.get(domid);
    if (domain === undefined) throw new RecordingError(`the trace has no domain ${domid}`);
    return domain;
  }

  #frame(mfn: number): FrameShadow {
    for (const { guest, frames } of this.#domains.values()) {
      const frame = frames[mfn - guest.header.mfn_base];
      if (frame !== undefined) return frame;
    }
    throw new RecordingError(`the trace has no frame ${hexNumber(mfn)}`);
  }

  /** Applies the effects of a step, reports all that is not as it should be, and takes it as it is from then on. */
  compare(step: ActingStep, report: Report): void {
    const { eff = {} } = step;
    for (const { dom, off, hex } of eff.si ?? []) apply(this.sharedInfo(dom), off, hex);
    for (const { mfn, off, hex } of eff.ram ?? []) apply(this.ram(mfn), off, hex);
    for (const { mfn, n } of eff.pin ?? []) this.#frame(mfn).pins = n;
    this.#uses.note(step);
    // The last changes to its own memory are nobody's concern.
    if (step.t === 'kill') this.#follow(this.#domain(step.dom));
    compareEvents(eff, this.world.events.take(), report);
    for (const domain of this.#domains.values()) {
      if (this.world.isPresent(domain.guest)) this.#compareDomain(domain, report);
    }
  }

  #follow({ guest, sharedInfo, frames }: DomainShadow): void {
    const { machine } = this.world;
    if (!guest.domain.isDying) return;
    sharedInfo.bytes.set(readFrame(machine, guest.domain.sharedInfo));
    for (const [gfn, { page }] of frames.entries()) {
      page.bytes.set(readFrame(machine, guest.header.mfn_base + gfn));
    }
  }

  #compareDomain({ guest, sharedInfo, frames }: DomainShadow, report: Report): void {
    const { machine } = this.world;
    const { id, mfn_base } = guest.header;
    const comparePage = (
      page: Page,
      frame: number,
      name: string,
      nameOf: (offset: number) => NamedBytes | undefined,
    ) => {
      if (page.equals(machine, frame)) return;
      const got = readFrame(machine, frame);
      describeNamed(name, nameOf, page.bytes, got, report);
      page.bytes.set(got);
    };
    comparePage(sharedInfo, guest.domain.sharedInfo, `domain ${id} shared info`, (offset) =>
      sharedInfoField(guest.abi, id, offset),
    );
    for (const [gfn, frame] of frames.entries()) {
      const mfn = mfn_base + gfn;
      const name = `frame ${hexNumber(mfn)}`;
      comparePage(frame.page, mfn, name, (offset) => this.#uses.at(mfn, offset));
      const pins = writableTypeCount(machine, mfn);
      if (pins === frame.pins) continue;
      report(`${name}: writable references`, String(frame.pins), String(pins));
      frame.pins = pins;
    }
  }
}

/** Throws RecordingError for bytes that are not there. */
function apply(region: Region, offsetBytes: number, bytes: Uint8Array): void {
  if (offsetBytes < 0 || offsetBytes + bytes.length > region.pages.length * PAGE_SIZE) {
    throw new RecordingError(
      `${region.name}: no bytes ${offsetBytes} to ${offsetBytes + bytes.length}`,
    );
  }
  forEachPage(offsetBytes, bytes.length, (index, inPage, inSpan, count) =>
    region.pages[index]!.bytes.set(bytes.subarray(inSpan, inSpan + count), inPage),
  );
}
