/** A ring as text, drawn from its actual state: for guides, examples and people who debug. */
import type { BackRing } from './back-ring.ts';
import type { FrontRing } from './front-ring.ts';
import { add, distance, slotOf } from './ring-index.ts';
import type { RingIndex } from './ring-index.ts';

const hex = (index: RingIndex): string => index.toString(16).padStart(8, '0');

/**
 * One line per slot, in ring order from rsp_cons on: its index (hexadecimal), its slot number, what it holds, and which
 * indices point to it. `front` and `back` are the two ends of one ring.
 *
 * What a slot holds, in the order of a request's life: `request, not pushed`, `request`, `in work` (consumed, not
 * answered), `response, not pushed`, `response`, `free`.
 */
export function renderRing<Req, Rsp>(front: FrontRing<Req, Rsp>, back: BackRing<Req, Rsp>): string {
  const { shared, rspCons, reqProdPvt, size } = front;
  const { reqProd, reqEvent, rspProd, rspEvent } = shared;
  const { reqCons, rspProdPvt } = back;
  /** The stretches of the ring, each up to its index, in ring order. */
  const stretches: readonly (readonly [RingIndex, string])[] = [
    [rspProd, 'response'],
    [rspProdPvt, 'response, not pushed'],
    [reqCons, 'in work'],
    [reqProd, 'request'],
    [reqProdPvt, 'request, not pushed'],
  ];
  const pointers: readonly (readonly [string, RingIndex])[] = [
    ['rsp_cons', rspCons],
    ['rsp_prod', rspProd],
    ['rsp_prod_pvt', rspProdPvt],
    ['req_cons', reqCons],
    ['req_prod', reqProd],
    ['req_prod_pvt', reqProdPvt],
    ['req_event', reqEvent],
    ['rsp_event', rspEvent],
  ];
  const lines: string[] = ['index     slot  holds'];
  for (let step = 0; step <= size; step++) {
    const index = add(rspCons, step);
    const here = pointers.filter(([, at]) => at === index).map(([name]) => name);
    // A full ring's producer stands one round ahead, at the first slot again.
    if (step === size && here.length === 0) break;
    const holds =
      step === size
        ? '(the first slot again)'
        : (stretches.find(([end]) => step < distance(rspCons, end))?.[1] ?? 'free');
    const slot = String(slotOf(index, size)).padStart(4);
    const arrow = here.length === 0 ? '' : `  <- ${here.join(', ')}`;
    lines.push(`${hex(index)}  ${slot}  ${holds.padEnd(22)}${arrow}`.trimEnd());
  }
  const elsewhere = pointers.filter(([, at]) => distance(rspCons, at) > size);
  for (const [name, at] of elsewhere) lines.push(`${hex(at)}        <- ${name}, outside the ring`);
  return lines.join('\n');
}
