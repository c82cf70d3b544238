/** Replays a trace of event channel operations: every step is done, and everything that guests could see is compared. */
import type { Report, Sha256, TraceResult } from '../difference.ts';
import { writeRegion } from '../page.ts';
import { preemptEvery, replayTrace } from '../trace-replay.ts';
import { performAction } from './actions.ts';
import { performCall } from './call.ts';
import { check } from './check.ts';
import { argumentWords } from './describe-call.ts';
import type { EvtchnTrace, Step } from './recording.ts';
import { Shadow } from './shadow.ts';
import { World } from './world.ts';

/** How to replay. */
export interface EvtchnReplayOptions {
  readonly sha256: Sha256;
}

/** Replays a trace on a machine of its own. Throws RecordingError for a trace that makes no sense. */
export function replayEvtchnTrace(
  trace: EvtchnTrace,
  { sha256 }: EvtchnReplayOptions,
): TraceResult {
  return replayTrace(trace, {
    begin(report) {
      const world = new World(trace);
      const run = { world, shadow: new Shadow(world), sha256, report, stop: false };
      return (step) => perform(run, step);
    },
    action: actionOf,
    argument: (step) => (step.t === 'hc' ? `args  ${argumentWords(step)}` : undefined),
  });
}

/** What steps are done with. */
interface Run {
  readonly world: World;
  readonly shadow: Shadow;
  readonly sha256: Sha256;
  readonly report: Report;
  /** A preempted hypercall is not continued. */
  stop: boolean;
}

function perform(run: Run, step: Step): void {
  const { world, shadow, sha256, report } = run;
  const { machine } = world;
  switch (step.t) {
    case 'note':
    case 'end':
      return;
    case 'w': {
      const region = step.sp === 'ram' ? shadow.ram(step.mfn) : shadow.sharedInfo(step.dom);
      writeRegion(machine, region, step.off, step.hex);
      return;
    }
    case 'chk':
      check(world, step, sha256, report);
      return;
    case 'preempt':
      preemptEvery(machine, step.every);
      run.stop = step.stop;
      return;
    case 'hc':
      performCall(world, step, run.stop, report);
      break;
    default:
      performAction(world, step, report);
  }
  shadow.compare(step, report);
}

function actionOf(step: Step): string {
  const by = 'dom' in step && step.dom !== undefined ? `domain ${step.dom} ` : '';
  const vcpu = 'vcpu' in step && step.vcpu !== undefined ? `vCPU ${step.vcpu} ` : '';
  return `${by}${vcpu}${step.t === 'hc' ? step.op : step.t}`;
}
