import { memoryDisk } from '@ringside/blkif';
import { expect, test } from 'vitest';
import { connected } from './rig.ts';

test('smoke', async () => {
  const backing = memoryDisk({ sizeBytes: 1 << 20 });
  const { disk } = await connected(backing);
  const data = Uint8Array.from({ length: 70 * 512 }, (_, i) => (i * 7) % 251);
  await disk.write({ sector: 3, data });
  expect(await disk.read({ sector: 3, sectors: 70 })).toEqual(data);
  await disk.flush();
  await disk.close();
});
