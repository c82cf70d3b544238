/** A thread of the grant races: attaches to the machine's memory, waits for the others, and does its job. */
import { parentPort, workerData } from 'node:worker_threads';
import { GnttabTransfer, Hypercalls, Machine, type MachineShare } from '@ringside/gnttab-core';
import { GNTMAP_device_map, GNTST_no_space, GNTST_okay } from '@ringside/gnttab-core/abi';
import {
  GnttabMapGrantRef,
  GnttabUnmapGrantRef,
  mapGrantRef,
  setVersion,
  unmapGrantRef,
} from '@ringside/gnttab-core/hypervisor';
import { copyOp } from '../grant/world.ts';

/** What a thread does, as `domain`. */
export type Task = { readonly domain: number } & (
  | {
      /** Gives frames away, one for each of the receiver's references from 8 on. */
      readonly kind: 'transfer';
      readonly receiver: number;
      readonly frames: readonly number[];
    }
  | {
      /** Copies through reference 8 of `granter` to its own `gmfn`, which must fail. */
      readonly kind: 'copy';
      readonly granter: number;
      readonly gmfn: number;
      readonly rounds: number;
    }
  | {
      /** Asks for a version, again and again. */
      readonly kind: 'version';
      readonly version: 1 | 2;
      readonly rounds: number;
    }
  | {
      /** Maps reference 8 of `granter` up to 100 times, and unmaps; a word at `claims` for each handle says who has it. */
      readonly kind: 'handles';
      readonly granter: number;
      readonly vcpu: number;
      readonly claims: number;
      readonly rounds: number;
    }
);

/** What a thread is told; `start` is the byte offset of the word that counts who is still missing. */
export interface Job {
  readonly share: MachineShare;
  readonly start: number;
  readonly task: Task;
}

const { share, start, task } = workerData as Job;
const machine = new Machine(share);
const domain = machine.domainById(task.domain)!;
const { i32 } = machine.heap;

/** How many things went wrong. */
function run(): number {
  let bad = 0;
  switch (task.kind) {
    case 'transfer': {
      const ops = task.frames.map((mfn, i) =>
        Object.assign(new GnttabTransfer(), { mfn, domid: task.receiver, ref: 8 + i, status: 1 }),
      );
      new Hypercalls(domain).gnttabTransfer(ops);
      bad = ops.filter(({ status }) => status !== GNTST_okay).length;
      break;
    }
    case 'copy': {
      const calls = new Hypercalls(domain);
      for (let round = 0; round < task.rounds; round++) {
        const op = copyOp({ ref: 8, domid: task.granter }, { gmfn: task.gmfn }, 8);
        calls.gnttabCopy([op]);
        if (op.status >= 0) bad += 1;
      }
      break;
    }
    case 'version':
      for (let round = 0; round < task.rounds; round++) {
        const op = { version: task.version };
        if (setVersion(domain, op) !== 0 || op.version !== task.version) bad += 1;
      }
      break;
    case 'handles':
      for (let round = 0; round < task.rounds; round++) bad += mapAndUnmap(task);
      break;
  }
  return bad;
}

function mapAndUnmap({ granter, vcpu, claims }: Extract<Task, { kind: 'handles' }>): number {
  const mapped: GnttabMapGrantRef[] = [];
  let bad = 0;
  for (let ref = 8; ref < 108; ref++) {
    const op = Object.assign(new GnttabMapGrantRef(), {
      dom: granter,
      ref,
      flags: GNTMAP_device_map,
    });
    mapGrantRef(domain, op, vcpu);
    if (op.status === GNTST_no_space) break;
    const alone = op.status === GNTST_okay && Atomics.add(i32, (claims >>> 2) + op.handle, 1) === 0;
    if (!alone) bad += 1;
    mapped.push(op);
  }
  for (const { handle, devBusAddr } of mapped) {
    Atomics.sub(i32, (claims >>> 2) + handle, 1);
    const op = Object.assign(new GnttabUnmapGrantRef(), { handle, devBusAddr });
    unmapGrantRef(domain, op);
    if (op.status !== GNTST_okay) bad += 1;
  }
  return bad;
}

Atomics.sub(i32, start >>> 2, 1);
while (Atomics.load(i32, start >>> 2) > 0);
parentPort!.postMessage(run());
