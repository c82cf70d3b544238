/** The toolstack, the workloads and the demo's scenario. All of it runs in a browser; the command line is not here. */
export * from './scenario/index.ts';
export * from './toolstack/index.ts';
export * from './workload/index.ts';
