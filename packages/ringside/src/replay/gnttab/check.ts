/** `chk` lines: parts of the machine's state told outright. */
import { INVALID_MFN, PAGE_SIZE } from '@ringside/gnttab-core';
import { grantVersion, nrGrantFrames, nrStatusFrames } from '@ringside/gnttab-core/hypervisor';
import type { Report, Sha256 } from '../difference.ts';
import { readFrame } from '../frames.ts';
import { forEachPage, type Region } from '../page.ts';
import { RecordingError } from '../reader.ts';
import { hexNumber } from '../words.ts';
import { describePage, type PageKind } from './describe-page.ts';
import type { Step } from './recording.ts';
import { owningDomain, type Shadow } from './shadow.ts';

type Check = Extract<Step, { t: 'chk' }>;

/** Reports what of the machine is not as the line says. A domain that is gone has no table to look at. */
export function check(shadow: Shadow, step: Check, sha256: Sha256, report: Report): void {
  const { world } = shadow;
  if ('dom' in step && !world.isPresent(world.guest(step.dom))) return;
  const compare = (what: string, expected: string | number, got: string | number) => {
    if (expected !== got) report(what, String(expected), String(got));
  };
  switch (step.sp) {
    case 'gt':
    case 'st': {
      const { dom, sp, off, hex } = step;
      const region = shadow.table(dom, sp);
      forEachPage(off, hex.length, (index, inPage, inSpan, count) => {
        const got = bytesOf(shadow, region, index * PAGE_SIZE, PAGE_SIZE);
        const expected = got.slice();
        expected.set(hex.subarray(inSpan, inSpan + count), inPage);
        const version = grantVersion(world.guest(dom).domain);
        const kind: PageKind =
          sp === 'gt' ? { name: sp, dom, index, version } : { name: sp, dom, index };
        describePage(kind, expected, got, report);
      });
      return;
    }
    case 'ram': {
      const { mfn, owner, sha256: digest } = step;
      const name = hexNumber(mfn);
      compare(`owner of frame ${name}`, owner, owningDomain(world.machine, mfn));
      const got = bytesOf(shadow, shadow.ram(mfn), 0, PAGE_SIZE);
      compare(`SHA-256 of frame ${name}`, digest, sha256(got));
      return;
    }
    case 'gtall': {
      const { domain } = world.guest(step.dom);
      const whole = (space: 'gt' | 'st', frames: number) =>
        sha256(bytesOf(shadow, shadow.table(step.dom, space), 0, frames * PAGE_SIZE));
      const name = `domain ${step.dom}`;
      compare(`${name}: table version`, step.version, grantVersion(domain));
      compare(`${name}: grant frames`, step.nr_frames, nrGrantFrames(domain));
      compare(`${name}: status frames`, step.nr_status, nrStatusFrames(domain));
      compare(`${name}: SHA-256 of the table`, step.gt_sha256, whole('gt', step.nr_frames));
      if ((step.st_sha256 === undefined) !== (step.nr_status === 0)) {
        throw new RecordingError('st_sha256 goes with nr_status above 0');
      }
      if (step.st_sha256 === undefined) return;
      compare(`${name}: SHA-256 of the status frames`, step.st_sha256, whole('st', step.nr_status));
    }
  }
}

/** Bytes as the machine has them; where it has no frame they are zero. */
function bytesOf(
  { world }: Shadow,
  region: Region,
  offsetBytes: number,
  lengthBytes: number,
): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  forEachPage(offsetBytes, lengthBytes, (index, inPage, inSpan, count) => {
    const frame = region.frame(index);
    if (frame !== INVALID_MFN) bytes.set(readFrame(world.machine, frame, inPage, count), inSpan);
  });
  return bytes;
}
