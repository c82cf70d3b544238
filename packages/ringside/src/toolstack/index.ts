/** The toolstack: what creates domains and attaches devices. */
export { type AttachedDevice, devicePaths } from './device.ts';
export type { NewDomainOptions, RunningDomain } from './domain.ts';
export {
  type AttachDiskOptions,
  type AttachVifOptions,
  startToolstack,
  type Toolstack,
} from './toolstack.ts';
export { vbdNumber } from './vdev.ts';
