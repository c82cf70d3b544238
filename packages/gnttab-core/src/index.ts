/** Machine memory, grant tables, event channels, hypercalls, rings and the guest API. */
export * from './abi/index.ts';
export * from './machine/index.ts';
export * from './ring/index.ts';
