/**
 * Who may read and write what, as xl sets it up. A new node inherits the permissions of the one above it, so these few
 * directories decide about everything below them. libxl: libxl__domain_make, libxl__device_generic_add.
 */

/** Only domain 0. */
const toolstackOnly: readonly string[] = ['n0'];

/** Owned by domain 0, readable by the guest. */
export const readOnlyFor = (domid: number): readonly string[] => ['n0', `r${domid}`];

/** The guest's own. */
export const ownedBy = (domid: number): readonly string[] => [`n${domid}`];

/** A node of a domain's home directory. */
export interface HomeNode {
  /** Relative to the home; '' is the home itself. */
  readonly name: string;
  readonly permissions: readonly string[];
}

/** The home directory of a new domain, in the order of making: it may look around, and write only where it has a say. */
export const homePermissions = (domid: number): readonly HomeNode[] => [
  { name: '', permissions: readOnlyFor(domid) },
  { name: 'cpu', permissions: readOnlyFor(domid) },
  { name: 'memory', permissions: readOnlyFor(domid) },
  { name: 'device', permissions: readOnlyFor(domid) },
  { name: 'control', permissions: readOnlyFor(domid) },
  { name: 'control/shutdown', permissions: ownedBy(domid) },
  { name: 'control/feature-poweroff', permissions: ownedBy(domid) },
  { name: 'control/feature-reboot', permissions: ownedBy(domid) },
  { name: 'control/feature-suspend', permissions: ownedBy(domid) },
  { name: 'control/sysrq', permissions: ownedBy(domid) },
  { name: 'device/suspend/event-channel', permissions: ownedBy(domid) },
  { name: 'data', permissions: ownedBy(domid) },
  { name: 'drivers', permissions: ownedBy(domid) },
  { name: 'feature', permissions: ownedBy(domid) },
  { name: 'attr', permissions: ownedBy(domid) },
  { name: 'error', permissions: ownedBy(domid) },
];

/** The three places of a device: each end writes its own directory and reads the other's. */
export const devicePermissions = (frontend: number, backend: number) => ({
  /** /local/domain/FRONTEND/device/TYPE/ID */
  frontend: [`n${frontend}`, `r${backend}`] as readonly string[],
  /** /local/domain/BACKEND/backend/TYPE/FRONTEND/ID */
  backend: [`n${backend}`, `r${frontend}`] as readonly string[],
  /** /libxl/FRONTEND/device/TYPE/ID, the toolstack's own record. */
  toolstack: toolstackOnly,
});
