/**
 * The machine, its hypercalls, what a guest kernel offers its drivers, and rings. The public headers' structs and
 * constants are `@ringside/gnttab-core/abi`.
 */
export * from './guest/index.ts';
export * from './hypercall/index.ts';
export * from './machine/index.ts';
export * from './ring/index.ts';
