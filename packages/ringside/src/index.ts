/** The toolstack, the workloads, the demo's scenario, the lab and the replay of recordings. All of it runs in a browser; the command line is not here. */
export * from './lab/index.ts';
export * from './replay/index.ts';
export * from './scenario/index.ts';
export * from './toolstack/index.ts';
export * from './workload/index.ts';
