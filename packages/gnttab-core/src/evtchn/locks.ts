/** Event locks (docs/architecture.md, "Locks"). */
import type { Domain } from '../machine/machine.ts';
import type { Native } from '../machine/native-code.ts';
import { EC, evtchn } from './structs.ts';

/** domain.event_lock: a domain's ports, against being allocated, bound and closed. */
export const eventLock = (domain: Domain): number => domain.base + EC.lock;

/** evtchn.lock: one port's state, against delivery. */
export const portLock = (channel: number): number => channel + evtchn.offset.lock;

/** double_evtchn_lock(): two locks, or one twice, in the order of their addresses, so that nobody waits in a circle. */
export function lockBoth(native: Native, a: number, b: number): void {
  native.spinLock(Math.min(a, b));
  if (a !== b) native.spinLock(Math.max(a, b));
}

/** double_evtchn_unlock(). */
export function unlockBoth(native: Native, a: number, b: number): void {
  if (a !== b) native.spinUnlock(Math.max(a, b));
  native.spinUnlock(Math.min(a, b));
}
