/** What a scenario of the lab shows: the grant tables at a moment, and what has just happened. */
import type { DomainName, Machine } from '@ringside/gnttab-core';
import { type DescribedTable, describeGrants } from '@ringside/gnttab-core/hypervisor';

/** The grant tables of a machine at a moment. */
export interface Moment {
  /** What has just been done. */
  readonly title: string;
  /** What came of it, and why an end was refused. */
  readonly remarks: readonly string[];
  readonly timeNs: number;
  readonly tables: readonly DescribedTable[];
}

/** What a scenario runs on, and who watches it. */
export interface Lab {
  /** A new machine. */
  readonly machine: Machine;
  /** The scenario notes here what its domains are called. */
  readonly names: Map<number, string>;
  readonly onMoment: (moment: Moment) => void;
  /** Asked after each pass of the workload: once more? Default: no. */
  readonly again?: (() => boolean) | undefined;
}

/** What to call the domains of a lab. */
export const namesOf =
  (names: ReadonlyMap<number, string>): DomainName =>
  (domid) =>
    names.get(domid) ?? `domain ${domid}`;

/** Looks at the machine as it is. */
export const takeMoment = (
  machine: Machine,
  title: string,
  remarks: readonly string[] = [],
): Moment => ({
  title,
  remarks,
  timeNs: machine.clock.nowNs(),
  tables: describeGrants(machine),
});
