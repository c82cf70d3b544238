/** `pnpm bench [--json] [--only NAME]`: each measurement beside an obvious alternative, in the same run. */
import { createMachine, type Machine } from '@ringside/gnttab-core';
import { bringUpHost, type Host } from '@ringside/ringside';
import { Command } from 'commander';
import { randomReads } from './blk.ts';
import { fixedCosts } from './cost.ts';
import { guestGrants } from './guest-grants.ts';
import { grantOperations, operationNames, sharedGrantOperations } from './grant-ops.ts';
import { manyDomains, tableSizes } from './grant-scale.ts';
import type { Result } from './measure.ts';
import { frames } from './net.ts';

/** Everybody works on one machine, as in a real run; each with domains of its own. */
type Measure = (machine: Machine, host: Host) => Promise<Result[]>;

/** What measures each group of names. */
const groups: readonly (readonly [names: readonly string[], measure: Measure])[] = [
  [operationNames('grant'), grantOperations],
  [operationNames('grant-shared'), sharedGrantOperations],
  [['grant/map-unmap-of-32768'], tableSizes],
  [
    ['domains/bytes-each-of-1000', 'domains/life-among-1000', 'domains/life-with-1024-pages'],
    manyDomains,
  ],
  [['guest/grant-end', 'guest/flip-x32'], guestGrants],
  [
    [
      'blk/randread-4k-qd32-memory',
      'blk/randread-4k-qd32-file',
      'blk/randread-4k-qd32-file-vs-readSync',
    ],
    randomReads,
  ],
  [['net/flip-60', 'net/copy-60', 'net/flip-1514', 'net/copy-1514'], frames],
  [['cost/domain', 'cost/guest-kernel', 'cost/vbd', 'cost/vif'], fixedCosts],
];
const names = groups.flatMap(([group]) => group);

/** `grant/` of `grant/copy-4096`: what `--only` may also name. */
const prefixes = [...new Set(names.map((name) => name.slice(0, name.indexOf('/') + 1)))];

const program = new Command('bench')
  .description('Timings as ratios against an obvious alternative, each pair in one run.')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
  .configureOutput({
    outputError: (text, write) =>
      write(
        `bench: ${text
          .replace(/^error: /, '')
          .trim()
          .replace(/\s*\n\s*/g, ' ')}\n`,
      ),
  })
  .option('--json', 'one JSON object with the results, alone on stdout')
  .option('--only <name>', `only measurements whose name begins so: ${prefixes.join(', ')} …`)
  .parse();
const { json = false, only = '' } = program.opts<{ json?: boolean; only?: string }>();
if (!names.some((name) => name.startsWith(only))) {
  program.error(`--only ${only}: no measurement begins so; groups: ${prefixes.join(', ')}`);
}

const number = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);

function line({ name, value, unit, baseline, baselineValue, ratio }: Result): string {
  const own = `${name.padEnd(38)}${number(value).padStart(12)} ${unit.padEnd(9)}`;
  if (baseline === undefined) return own.trimEnd();
  return `${own}${number(ratio!).padStart(6)} times ${number(baselineValue!)}: ${baseline}`;
}

const machine = createMachine({ memoryPages: 65_536 });
const host = await bringUpHost(machine, { driverPages: 24_576 });
const results: Result[] = [];
for (const [group, measure] of groups) {
  if (!group.some((name) => name.startsWith(only))) continue;
  for (const result of await measure(machine, host)) {
    if (!result.name.startsWith(only)) continue;
    results.push(result);
    if (!json) console.log(line(result));
  }
}
if (json) console.log(JSON.stringify({ results }));
process.exit(0);
