/** `chk` lines: parts of the machine's state told outright. */
import { PAGE_SIZE } from '@ringside/gnttab-core';
import type { Report, Sha256 } from '../difference.ts';
import { readFrame } from '../frames.ts';
import { RecordingError } from '../reader.ts';
import { describeNamed } from './named-bytes.ts';
import type { StepOf } from './recording.ts';
import { sharedInfoField } from './shared-info.ts';
import type { World } from './world.ts';

/** Reports what of the machine is not as the line says. A domain that is gone has nothing to look at. */
export function check(world: World, step: StepOf<'chk'>, sha256: Sha256, report: Report): void {
  const guest = world.guest(step.dom);
  if (!world.isPresent(guest)) return;
  const { machine } = world;
  const { id, frames, mfn_base } = guest.header;
  const page = readFrame(machine, guest.domain.sharedInfo);
  const name = `domain ${id} shared info`;
  if (step.sp === 'si') {
    if (step.off < 0 || step.off + step.hex.length > PAGE_SIZE) {
      throw new RecordingError(`${name} has no byte ${step.off + step.hex.length}`);
    }
    const expected = page.slice();
    expected.set(step.hex, step.off);
    const nameOf = (offset: number) => sharedInfoField(guest.abi, id, offset);
    describeNamed(name, nameOf, expected, page, report);
    return;
  }
  const memory = new Uint8Array(frames * PAGE_SIZE);
  for (let gfn = 0; gfn < frames; gfn++) {
    memory.set(readFrame(machine, mfn_base + gfn), gfn * PAGE_SIZE);
  }
  const compare = (what: string, expected: string, got: string) => {
    if (expected !== got) report(`SHA-256 of ${what}`, expected, got);
  };
  compare(name, step.si_sha256, sha256(page));
  compare(`domain ${id} memory`, step.ram_sha256, sha256(memory));
}
