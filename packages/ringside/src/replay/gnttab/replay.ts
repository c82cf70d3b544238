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
import type { Report, Sha256, TraceResult } from '../difference.ts';
import { writeRegion } from '../page.ts';
import { preemptEvery, replayTrace } from '../trace-replay.ts';
import { resultName } from '../words.ts';
import { type Handles, performCall } from './call.ts';
import { check } from './check.ts';
import { argumentWords } from './describe-call.ts';
import { applyEffects } from './effects.ts';
import { p2mTypes } from './names.ts';
import { askedPte, EMPTY_PTE } from './pte-forms.ts';
import type { ActingStep, GnttabTrace, Step } from './recording.ts';
import { owningDomain, Shadow } from './shadow.ts';
import { World } from './world.ts';

/** How to replay. */
export interface GnttabReplayOptions {
  /** Layout of arguments; 64-bit values are cut to what an i386 guest can pass. Default x86_64. */
  readonly abi?: Abi;
  readonly sha256: Sha256;
}

/** Replays a trace on a machine of its own. Throws RecordingError for a trace that makes no sense. */
export function replayGnttabTrace(
  trace: GnttabTrace,
  { abi = 'x86_64', sha256 }: GnttabReplayOptions,
): TraceResult {
  return replayTrace(trace, {
    begin(report) {
      const world = new World(trace, abi);
      const shadow = new Shadow(world);
      shadow.compare(report);
      const run = { world, shadow, handles: new Map(), sha256, report };
      return (step) => perform(run, step);
    },
    action: actionOf,
    argument: argumentOf,
  });
}

/** What steps are done with. */
interface Run {
  readonly world: World;
  readonly shadow: Shadow;
  readonly handles: Handles;
  readonly sha256: Sha256;
  readonly report: Report;
}

function perform(run: Run, step: Step): void {
  const { world, shadow, sha256, report } = run;
  const { machine } = world;
  switch (step.t) {
    case 'note':
    case 'end':
      return;
    case 'w': {
      const region = step.sp === 'ram' ? shadow.ram(step.mfn) : shadow.table(step.dom, step.sp);
      writeRegion(machine, region, step.off, step.hex);
      return;
    }
    case 'fill':
      writeRegion(machine, shadow.ram(step.mfn), 0, pattern(step.seed));
      return;
    case 'chk':
      check(shadow, step, sha256, report);
      return;
    case 'preempt':
      preemptEvery(machine, step.every);
      return;
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
      performAction(run, step);
  }
}

function performAction({ world, shadow, handles, sha256, report }: Run, step: ActingStep): void {
  if (step.t === 'hc') {
    performCall(world, handles, step, report);
  } else {
    const result = act(world, step);
    if (result !== step.rc) report('result', resultName(step.rc), resultName(result));
  }
  applyEffects({ shadow, sha256, report }, step);
  shadow.compare(report);
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

/** The arguments of an element; of one that has no like it goes without saying. */
function argumentOf(step: Step, element: number | undefined): string | undefined {
  if (step.t !== 'hc') return undefined;
  const index = element ?? (step.args.length === 1 ? 0 : undefined);
  return index === undefined ? undefined : `args[${index}]  ${argumentWords(step, index)}`;
}
