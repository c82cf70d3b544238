/** Replays a trace of grant table operations: every step is done, and everything that guests could see is compared. */
import { destroyDomain, type Domain, PAGE_SIZE } from '@ringside/gnttab-core';
import {
  __HYPERVISOR_memory_op,
  __HYPERVISOR_update_va_mapping,
  type Abi,
  DOMID_SELF,
  UVMF_INVLPG,
  xenAddToPhysmap,
  XENMAPSPACE_grant_table,
  XENMEM_add_to_physmap,
} from '@ringside/gnttab-core/abi';
import { entryFrame, limitXenHeap, p2mEntry, setP2m } from '@ringside/gnttab-core/hypervisor';
import type { Difference, Report, Sha256, TraceResult } from '../difference.ts';
import { RecordingError } from '../reader.ts';
import { type Handles, performCall } from './call.ts';
import { check } from './check.ts';
import { argumentWords } from './describe-call.ts';
import { applyEffects } from './effects.ts';
import { p2mTypes, resultName } from './names.ts';
import { forEachPage, type Region } from './page.ts';
import { askedPte, EMPTY_PTE } from './pte-forms.ts';
import type { ActingStep, GnttabTrace, Hypercall, Step } from './recording.ts';
import { owningDomain, Shadow } from './shadow.ts';
import { World } from './world.ts';

/** How to replay. */
export interface GnttabReplayOptions {
  /** Layout of arguments; 64-bit values are cut to what an i386 guest can pass. Default x86_64. */
  readonly abi?: Abi;
  readonly sha256: Sha256;
}

/** Replays a trace on a machine of its own. Throws RecordingError for a trace that makes no sense. */
export function replayGnttabTrace(trace: GnttabTrace, options: GnttabReplayOptions): TraceResult {
  const replay = new TraceReplay(trace, options);
  replay.run();
  return {
    name: trace.header.name,
    steps: trace.steps.length,
    hypercalls: trace.steps.filter(({ step }) => step.t === 'hc').length,
    differences: replay.differences,
  };
}

class TraceReplay {
  readonly differences: Difference[] = [];
  readonly #trace: GnttabTrace;
  readonly #abi: Abi;
  readonly #sha256: Sha256;
  readonly #handles: Handles = new Map();
  /** Where the replay is: line, number of the step, what it does, the recording's remark. */
  #at: Pick<Difference, 'line' | 'step' | 'action' | 'comment'>;
  /** The hypercall that it is at. */
  #call: Hypercall | undefined;

  constructor(trace: GnttabTrace, { abi = 'x86_64', sha256 }: GnttabReplayOptions) {
    this.#trace = trace;
    this.#abi = abi;
    this.#sha256 = sha256;
    this.#at = { line: trace.line, step: 0, action: 'create the domains' };
  }

  /** After an exception of the machine's nothing can be said any more: it is the last difference. */
  run(): void {
    try {
      const world = this.#begin();
      const shadow = new Shadow(world);
      shadow.compare(this.#report);
      for (const [index, { line, step }] of this.#trace.steps.entries()) {
        const comment = 'c' in step ? step.c : undefined;
        const where = { line, step: index + 1, action: actionOf(step) };
        this.#at = comment === undefined ? where : { ...where, comment };
        this.#call = step.t === 'hc' ? step : undefined;
        this.#perform(world, shadow, step);
      }
    } catch (error) {
      if (error instanceof RecordingError) {
        throw new RecordingError(`line ${this.#at.line}: ${error.message}`);
      }
      this.#crash(error);
    }
  }

  /** What the machine does not take is not its fault: nothing has been replayed yet. */
  #begin(): World {
    try {
      return new World(this.#trace, this.#abi);
    } catch (error) {
      throw error instanceof RangeError ? new RecordingError(error.message) : error;
    }
  }

  readonly #report: Report = (what, expected, got, about = {}) => {
    const argument = this.#argument(about.element);
    this.differences.push({
      trace: this.#trace.header.name,
      ...this.#at,
      ...(argument !== undefined && { argument }),
      what,
      expected,
      got,
      ...(about.hint !== undefined && { hint: about.hint }),
    });
  };

  /** The arguments of an element; of one that has no like it goes without saying. */
  #argument(element: number | undefined): string | undefined {
    const call = this.#call;
    const index = element ?? (call?.args.length === 1 ? 0 : undefined);
    if (call === undefined || index === undefined) return undefined;
    return `args[${index}]  ${argumentWords(call, index)}`;
  }

  #crash(error: unknown): void {
    const isError = error instanceof Error;
    this.#report('exception', 'none', isError ? `${error.name}: ${error.message}` : String(error));
    const last = this.differences.pop()!;
    this.differences.push(isError && error.stack ? { ...last, stack: error.stack } : last);
  }

  #perform(world: World, shadow: Shadow, step: Step): void {
    const { machine } = world;
    switch (step.t) {
      case 'note':
      case 'end':
        return;
      case 'w': {
        const region = step.sp === 'ram' ? shadow.ram(step.mfn) : shadow.table(step.dom, step.sp);
        write(world, region, step.off, step.hex);
        return;
      }
      case 'fill':
        write(world, shadow.ram(step.mfn), 0, pattern(step.seed));
        return;
      case 'chk':
        check(shadow, step, this.#sha256, this.#report);
        return;
      case 'preempt': {
        let checks = 0;
        const { every } = step;
        machine.preemptCheck = every === 0 ? () => false : () => ++checks % every === 0;
        return;
      }
      case 'oom':
        limitXenHeap(machine, step.pages);
        return;
      case 'low_pages':
        world.leaveFree(step.first_mfn, step.n);
        for (let i = 0; i < step.n; i++) {
          const mfn = step.first_mfn + i;
          shadow.track(mfn, owningDomain(machine, mfn));
        }
        return;
      default:
        this.#act(world, shadow, step);
    }
  }

  #act(world: World, shadow: Shadow, step: ActingStep): void {
    if (step.t === 'hc') {
      performCall(world, this.#handles, step, this.#report);
    } else {
      const result = act(world, step);
      if (result !== step.rc) this.#report('result', resultName(step.rc), resultName(result));
    }
    applyEffects({ shadow, sha256: this.#sha256, report: this.#report }, step);
    shadow.compare(this.#report);
  }
}

/** What a guest writes, in its own memory or in its table, is known to both sides. */
function write(world: World, region: Region, offsetBytes: number, bytes: Uint8Array): void {
  forEachPage(offsetBytes, bytes.length, (index, inPage, inSpan, count) => {
    const part = bytes.subarray(inSpan, inSpan + count);
    const page = region.pages[index];
    if (page === undefined) {
      throw new RecordingError(`${region.name} has no byte ${offsetBytes + inSpan}`);
    }
    world.write(region.frame(index), inPage, part);
    page.bytes.set(part, inPage);
  });
}

/** The page that a `fill` line stands for. */
function pattern(seed: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_SIZE);
  for (let i = 0; i < PAGE_SIZE; i++) bytes[i] = seed * 131 + i * 7 + (i >> 8) * 13;
  return bytes;
}

type OtherStep = Exclude<ActingStep, { t: 'hc' }>;

/** Everything else that changes a domain. Returns 0 or -errno. */
function act(world: World, step: OtherStep): number {
  const guest = world.guest(step.dom);
  switch (step.t) {
    case 'kill':
      destroyDomain(guest.domain);
      return 0;
    case 'p2mset':
      return retype(guest.domain, step);
    case 'mmu': {
      const pte = step.mfn === null ? EMPTY_PTE : askedPte(world.frameOf(step.mfn), step.rw);
      const door = world.door(step.dom);
      const number = __HYPERVISOR_update_va_mapping;
      if (world.abi === 'i386') {
        return door.hypercall(number, step.va, pte.lo, pte.hi, UVMF_INVLPG);
      }
      const value = (BigInt(pte.hi) << 32n) | BigInt(pte.lo);
      return door.hypercall(number, step.va, value, UVMF_INVLPG);
    }
    case 'physmap': {
      const struct = xenAddToPhysmap[world.abi];
      const argument = new Uint8Array(struct.size);
      struct.encode(new DataView(argument.buffer), 0, {
        domid: DOMID_SELF,
        space: XENMAPSPACE_grant_table,
        idx: step.idx,
        gpfn: BigInt(step.gfn),
      });
      const va = guest.array.placeBytes(argument.length);
      guest.array.write(va, argument);
      return world.door(step.dom).hypercall(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, va);
    }
  }
}

/** A p2m entry becomes of another type, as paging or a device model would have it. */
function retype(domain: Domain, step: Extract<OtherStep, { t: 'p2mset' }>): number {
  const { gfn, type } = step;
  return setP2m(domain, gfn, entryFrame(p2mEntry(domain, gfn)), p2mTypes[type]) ? 0 : -1;
}

function actionOf(step: Step): string {
  if (step.t === 'hc') return `domain ${step.dom} ${step.op}`;
  if ('dom' in step && step.dom !== undefined) return `domain ${step.dom} ${step.t}`;
  return step.t;
}
