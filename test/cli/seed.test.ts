/** A run with a seed is a function of it. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import { folderWith, ringside, testData } from './ringside.ts';

const files = {
  'in.pcap': testData('lan-mtu1500.pcap'),
  'in.img': testData('ext4.img').subarray(0, 1 << 20),
};

describe.concurrent('same seed, same trace and same results; another seed, another order and the same bytes', () => {
  test.for([['net --pcap in.pcap --out out'], ['disk --image in.img --workload copy --out out']])(
    '%s',
    async ([words], context) => {
      const run = async (seed: string) => {
        const folder = folderWith(context, files);
        const options = ['--seed', seed, '--trace', 'trace.json', '--json'];
        const { exitCode, stdout, stderr } = await ringside(
          folder,
          ...words!.split(' '),
          ...options,
        );
        expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
        const [out, trace] = ['out', 'trace.json'].map((name) =>
          fs.readFileSync(path.join(folder, name)),
        );
        return { stdout, out: out!, trace: trace!.toString() };
      };
      const [first, again, other] = await Promise.all([run('7'), run('7'), run('8')]);
      expect(again.stdout).toBe(first.stdout);
      expect(again.trace === first.trace).toBe(true);
      expect(other.trace === first.trace).toBe(false);
      expect(other.out.equals(first.out)).toBe(true);
    },
  );
});
