/**
 * What event channels use frames for, as the recording has it: control blocks, event words, vcpu_info. So that a byte that
 * differs can be called by its name.
 */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import {
  type Abi,
  DOMID_SELF,
  EVTCHN_FIFO_BUSY,
  EVTCHN_FIFO_LINK_BITS,
  EVTCHN_FIFO_LINK_MASK,
  EVTCHN_FIFO_LINKED,
  EVTCHN_FIFO_MASKED,
  EVTCHN_FIFO_PENDING,
  evtchnFifoControlBlock,
} from '@ringside/gnttab-core/abi';
import { fieldsOf } from '../reader.ts';
import { bitNames, hexNumber } from '../words.ts';
import type { NamedBytes } from './named-bytes.ts';
import type { ActingStep, Hypercall } from './recording.ts';
import { vcpuInfoField } from './shared-info.ts';
import type { World } from './world.ts';

const WORD_BYTES = 4;
const WORDS_PER_PAGE = PAGE_SIZE / WORD_BYTES;

interface Use {
  readonly kind: 'control' | 'array' | 'vcpu_info';
  readonly dom: number;
  readonly frame: number;
  readonly offset: number;
  readonly size: number;
  /** The name of what is `offset` bytes into it. */
  at(offset: number): NamedBytes | undefined;
}

/** See above. */
export class FrameUses {
  readonly #world: World;
  #uses: Use[] = [];

  constructor(world: World) {
    this.#world = world;
  }

  /** Notes what a step that went as recorded has changed. */
  note(step: ActingStep): void {
    if (step.t === 'kill' && step.rc === 0) this.#forget(step.dom, true);
    else if (step.t === 'vcpu_info' && step.rc === 0) {
      const { dom, target, offset } = step;
      const frame = this.#world.mfnOf(dom, step.frame);
      this.#uses.push(vcpuInfoUse(dom, target, frame, offset, this.#world.guest(dom).abi));
    } else if (step.t === 'hc') this.#noteCall(step);
  }

  #noteCall({ op, dom, said, rc, eff }: Hypercall): void {
    const args = fieldsOf(said, 'args') as Readonly<Record<string, string | number>>;
    const target = args['dom'] === DOMID_SELF ? dom : Number(args['dom']);
    if (rc === 0 && (op === 'reset' || op === 'reset_cont')) this.#forget(target, false);
    // Only what has got a frame pins it.
    if (eff?.pin === undefined) return;
    if (op === 'init_control') {
      const frame = this.#world.mfnOf(dom, BigInt(args['control_gfn']!));
      this.#uses.push(controlUse(dom, Number(args['vcpu']), frame, Number(args['offset'])));
    } else if (op === 'expand_array') {
      const index = this.#uses.filter((use) => use.kind === 'array' && use.dom === dom).length;
      this.#uses.push(arrayUse(dom, index, this.#world.mfnOf(dom, BigInt(args['array_gfn']!))));
    }
  }

  /** FIFO delivery is over; a dead domain has no vcpu_info either. */
  #forget(dom: number, isDead: boolean): void {
    this.#uses = this.#uses.filter(
      (use) => use.dom !== dom || (use.kind === 'vcpu_info' && !isDead),
    );
  }

  /** The name of a byte of a frame, if it has one. */
  at(frame: number, offset: number): NamedBytes | undefined {
    const use = this.#uses.find(
      (one) => one.frame === frame && offset >= one.offset && offset < one.offset + one.size,
    );
    return use?.at(offset - use.offset);
  }
}

const { offset: CONTROL, size: CONTROL_BYTES } = evtchnFifoControlBlock.x86_64;

function controlUse(dom: number, vcpu: number, frame: number, start: number): Use {
  const owner = `domain ${dom} vCPU ${vcpu} control block`;
  const at = (offset: number): NamedBytes => {
    const word = offset - (offset % WORD_BYTES);
    const place = { offset: start + word, size: WORD_BYTES };
    if (word >= CONTROL.head) {
      const queue = (word - CONTROL.head) / WORD_BYTES;
      return { ...place, name: `${owner}: head[${queue}]`, words: decimal };
    }
    return word === CONTROL.ready
      ? { ...place, name: `${owner}: ready`, words: priorities }
      : { ...place, name: `${owner}: _rsvd`, words: hexadecimal };
  };
  return { kind: 'control', dom, frame, offset: start, size: CONTROL_BYTES, at };
}

function arrayUse(dom: number, index: number, frame: number): Use {
  const at = (offset: number): NamedBytes => {
    const word = Math.floor(offset / WORD_BYTES);
    return {
      name: `domain ${dom} event word of port ${index * WORDS_PER_PAGE + word}`,
      offset: word * WORD_BYTES,
      size: WORD_BYTES,
      words: (bytes) => eventWord(bytes.getUint32(0, true)),
    };
  };
  return { kind: 'array', dom, frame, offset: 0, size: PAGE_SIZE, at };
}

function vcpuInfoUse(dom: number, vcpu: number, frame: number, start: number, abi: Abi): Use {
  const at = (offset: number) => vcpuInfoField(abi, `domain ${dom} vCPU ${vcpu}`, start, offset);
  return { kind: 'vcpu_info', dom, frame, offset: start, size: 64, at };
}

const decimal = (bytes: DataView): string => String(bytes.getUint32(0, true));
const hexadecimal = (bytes: DataView): string => hexNumber(bytes.getUint32(0, true));

/** The priorities whose queues have something. */
function priorities(bytes: DataView): string {
  const ready = bytes.getUint32(0, true);
  const set = Array.from({ length: 32 }, (_, i) => i).filter((i) => (ready & (1 << i)) !== 0);
  return set.length === 0 ? 'none' : `priority ${set.join(', ')}`;
}

const eventBits = {
  PENDING: 1 << EVTCHN_FIFO_PENDING,
  MASKED: 1 << EVTCHN_FIFO_MASKED,
  LINKED: 1 << EVTCHN_FIFO_LINKED,
  BUSY: 1 << EVTCHN_FIFO_BUSY,
};
/** Bits between link and flags, which mean nothing. */
const RESERVED = ((1 << EVTCHN_FIFO_BUSY) - 1) & ~EVTCHN_FIFO_LINK_MASK;

/** `PENDING|LINKED link 3`. */
export function eventWord(word: number): string {
  const flags = bitNames(word & ~(RESERVED | EVTCHN_FIFO_LINK_MASK), eventBits).join('|') || '0';
  const reserved = (word & RESERVED) >>> EVTCHN_FIFO_LINK_BITS;
  const link = `${flags} link ${word & EVTCHN_FIFO_LINK_MASK}`;
  return reserved === 0 ? link : `${link} reserved ${hexNumber(reserved)}`;
}
