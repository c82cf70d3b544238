/** The public headers as struct tables and constants, one file per header. */
export * from './struct.ts';
export * from './console.ts';
export * from './errno.ts';
export * from './event-channel.ts';
export * from './grant-table.ts';
export * from './memory.ts';
export * from './ring.ts';
export * from './sched.ts';
export * from './vcpu.ts';
export * from './version.ts';
export * from './xen.ts';
