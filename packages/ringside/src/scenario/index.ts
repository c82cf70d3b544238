/** Whole runs: bringing up a host, and the demo. */
export { bringUpHost, type Host, type HostOptions, plugDisk, plugVif } from './bring-up.ts';
export { type DemoOptions, type DemoResult, type DemoStep, demoSteps, runDemo } from './demo.ts';
