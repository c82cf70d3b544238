/** Applies recorded effects to the shadow. */
import { INVALID_MFN, PAGE_SIZE } from '@ringside/gnttab-core';
import type { Pte } from '@ringside/gnttab-core/hypervisor';
import type { Report, Sha256 } from '../difference.ts';
import { readFrame } from '../frames.ts';
import { forEachPage, type Region } from '../page.ts';
import { RecordingError } from '../reader.ts';
import { p2mTypes } from './names.ts';
import { EMPTY_PTE, eitherPte, grantPte, ownPte, type PteContents } from './pte-forms.ts';
import type { ActingStep, Effects, PteEffect, Span } from './recording.ts';
import { nothing, resize, type Shadow } from './shadow.ts';

const PTE_BYTES = 8;

/** What effects are applied with. */
export interface Application {
  readonly shadow: Shadow;
  readonly sha256: Sha256;
  readonly report: Report;
}

/** All effects of a step. Throws RecordingError for what cannot be. */
export function applyEffects(to: Application, step: ActingStep): void {
  const { shadow } = to;
  const { eff = {} } = step;
  for (const { dom, v } of eff.ver ?? []) shadow.domain(dom).counts.ver = v;
  for (const { dom, v } of eff.tot ?? []) shadow.domain(dom).counts.tot = v;
  for (const { dom, v } of eff.present ?? []) shadow.domain(dom).counts.present = v;
  for (const dom of eff.crash ?? []) shadow.domain(dom).counts.crash = 1;
  for (const { dom, v } of eff.ngt ?? []) grow(shadow, dom, 'ngt', v);
  for (const { dom, v } of eff.nst ?? []) grow(shadow, dom, 'nst', v);
  for (const { mfn, owner } of eff.own ?? []) shadow.frame(mfn).owner = owner;
  for (const span of eff.gt ?? []) applySpan(to, shadow.table(span.dom, 'gt'), span);
  for (const span of eff.st ?? []) applySpan(to, shadow.table(span.dom, 'st'), span);
  for (const span of eff.ram ?? []) applySpan(to, shadow.ram(span.mfn), span);
  for (const pte of eff.pte ?? []) applyPte(to, step, pte);
  applyP2m(shadow, eff);
  // `overlap` says which copies depend on memmove: their bytes are among the effects.
}

/** A table has no more status frames than shared ones. */
function grow(shadow: Shadow, dom: number, name: 'ngt' | 'nst', frames: number): void {
  const domain = shadow.domain(dom);
  const { max_grant_frames: limit } = domain.guest.header;
  if (frames < 0 || frames > limit) {
    throw new RecordingError(`domain ${dom} ${name} ${frames}; allowed are 0 to ${limit}`);
  }
  resize(domain, name, frames);
}

function applyP2m(shadow: Shadow, { p2m = [] }: Effects): void {
  for (const { dom, gfn, type, mfn } of p2m) {
    if ((type === 'invalid') !== (mfn === undefined)) {
      throw new RecordingError(`gfn ${gfn} of type ${type}, mfn ${JSON.stringify(mfn)}`);
    }
    const frame = mfn === undefined ? 0 : shadow.world.frameOf(mfn);
    const state = mfn === undefined ? nothing : { type: p2mTypes[type], frame };
    shadow.domain(dom).p2m.set(gfn, state);
  }
}

/** Bytes that changed. Of those told by a digest the machine must have the right ones. */
function applySpan({ shadow, sha256, report }: Application, region: Region, span: Span): void {
  const { world } = shadow;
  const length = 'hex' in span ? span.hex.length : span.len;
  if (span.off + length > region.pages.length * PAGE_SIZE) {
    throw new RecordingError(`${region.name}: no bytes ${span.off} to ${span.off + length}`);
  }
  const bytes = 'hex' in span ? span.hex : new Uint8Array(length);
  if (!('hex' in span)) {
    forEachPage(span.off, length, (index, inPage, inSpan, count) => {
      const frame = region.frame(index);
      if (frame !== INVALID_MFN) bytes.set(readFrame(world.machine, frame, inPage, count), inSpan);
    });
    const digest = sha256(bytes);
    if (digest !== span.sha256) {
      report(`SHA-256 of ${region.name}, ${length} bytes from ${span.off}`, span.sha256, digest);
    }
  }
  forEachPage(span.off, length, (index, inPage, inSpan, count) =>
    region.pages[index]!.bytes.set(bytes.subarray(inSpan, inSpan + count), inPage),
  );
}

/** An entry that changed; which of its possible forms it has depends on who wrote it. */
function applyPte({ shadow }: Application, step: ActingStep, effect: PteEffect): void {
  const { world } = shadow;
  const { frame, offsetBytes } = world.pteSlot(effect.dom, Number(effect.va));
  const { bytes } = shadow.frame(frame).page;
  const view = new DataView(bytes.buffer, offsetBytes);
  const forms = effect.present ? formsOf(step, contentsOf(effect, shadow)) : [EMPTY_PTE];
  const now = viewPte(readFrame(world.machine, frame, offsetBytes, PTE_BYTES));
  const { lo, hi } = forms.find((form) => form.lo === now.lo && form.hi === now.hi) ?? forms[0]!;
  view.setUint32(0, lo, true);
  view.setUint32(4, hi, true);
}

function formsOf(step: ActingStep, contents: PteContents): Pte[] {
  if (step.t === 'mmu') return [ownPte(contents)];
  if (step.t === 'hc' && step.op === 'map_grant_ref') return [grantPte(contents)];
  return eitherPte(contents);
}

function contentsOf({ mfn, rw, app, avail }: PteEffect, { world }: Shadow): PteContents {
  if (mfn === undefined || rw === undefined || app === undefined || avail === undefined) {
    throw new RecordingError('a present PTE has mfn, rw, app and avail');
  }
  return { mfn: world.frameOf(mfn), rw, app, avail };
}

function viewPte(bytes: Uint8Array): Pte {
  const view = new DataView(bytes.buffer);
  return { lo: view.getUint32(0, true), hi: view.getUint32(4, true) };
}
