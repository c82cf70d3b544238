/** Grant table operations through the typed door: see two-doors.ts. */
import {
  type Domain,
  GnttabCacheFlush,
  GnttabMapGrantRef,
  GnttabSwapGrantRef,
  GnttabTransfer,
  GnttabUnmapAndReplace,
  GnttabUnmapGrantRef,
  Hypercalls,
} from '@ringside/gnttab-core';
import { grantVersion } from '@ringside/gnttab-core/hypervisor';
import { type Operation, type Outcome, UNTOUCHED } from './door-operations.ts';
import { copyOp } from './world.ts';

export function typedCall(domain: Domain, operation: Operation): Outcome {
  const calls = new Hypercalls(domain);
  switch (operation.op) {
    case 'map': {
      const out = { handle: UNTOUCHED, devBusAddr: UNTOUCHED };
      const ops = operation.elements.map((element) =>
        Object.assign(new GnttabMapGrantRef(), out, element),
      );
      calls.gnttabMap(ops);
      return {
        result: 0,
        elements: ops.map(({ status, handle, devBusAddr }) => ({ status, handle, devBusAddr })),
      };
    }
    case 'unmap':
      return statuses(operation.elements, GnttabUnmapGrantRef, (ops) => calls.gnttabUnmap(ops));
    case 'replace':
      return statuses(operation.elements, GnttabUnmapAndReplace, (ops) =>
        calls.gnttabUnmapAndReplace(ops),
      );
    case 'transfer':
      return statuses(operation.elements, GnttabTransfer, (ops) => calls.gnttabTransfer(ops));
    case 'swap':
      return statuses(operation.elements, GnttabSwapGrantRef, (ops) => calls.gnttabSwap(ops));
    case 'copy': {
      const ops = operation.elements.map(({ source, dest, len }) => copyOp(source, dest, len));
      calls.gnttabCopy(ops);
      return { result: 0, elements: ops.map(({ status }) => ({ status })) };
    }
    case 'flush': {
      const each = operation.elements.map(
        (element) => () => calls.gnttabCacheFlush(Object.assign(new GnttabCacheFlush(), element)),
      );
      return { result: each.reduce((result, flush) => (result === 0 ? flush() : result), 0) };
    }
    case 'setup':
    case 'status': {
      const { nrFrames, dom } = operation;
      const { status, frames } =
        operation.op === 'setup'
          ? calls.setupTable(nrFrames, dom)
          : calls.getStatusFrames(nrFrames, dom);
      return { result: 0, elements: [{ status }], frames };
    }
    case 'size': {
      const { status, nrFrames, maxNrFrames } = calls.querySize(operation.dom);
      return {
        result: 0,
        elements: [status === 0 ? { status, nrFrames, maxNrFrames } : { status }],
      };
    }
    case 'version': {
      const version = calls.getGrantVersion(operation.dom);
      return version < 0 ? { result: version } : { result: 0, elements: [{ version }] };
    }
    case 'set': {
      const result = calls.setGrantVersion(operation.version);
      return { result, elements: [{ version: grantVersion(domain) }] };
    }
  }
}

function statuses<T extends { status: number }>(
  elements: readonly object[],
  Op: new () => T,
  run: (ops: T[]) => void,
): Outcome {
  const ops = elements.map((element) => Object.assign(new Op(), element));
  run(ops);
  return { result: 0, elements: ops.map(({ status }) => ({ status })) };
}
