/** The toolstack, the workloads and the demo's scenario. All of it runs in a browser; the command line is not here. */
export * from './toolstack/index.ts';
