/** What a recorded hypercall was asked, in words. */
import {
  DOMID_SELF,
  VIRQ_ARGO,
  VIRQ_CON_RING,
  VIRQ_CONSOLE,
  VIRQ_DEBUG,
  VIRQ_DEBUGGER,
  VIRQ_DOM_EXC,
  VIRQ_ENOMEM,
  VIRQ_MEM_EVENT,
  VIRQ_PCPU_STATE,
  VIRQ_TBUF,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
} from '@ringside/gnttab-core/abi';
import { fieldsOf } from '../reader.ts';
import type { Hypercall } from './recording.ts';

const virqs = {
  VIRQ_TIMER,
  VIRQ_DEBUG,
  VIRQ_CONSOLE,
  VIRQ_DOM_EXC,
  VIRQ_TBUF,
  VIRQ_DEBUGGER,
  VIRQ_XENOPROF,
  VIRQ_CON_RING,
  VIRQ_PCPU_STATE,
  VIRQ_MEM_EVENT,
  VIRQ_ARGO,
  VIRQ_ENOMEM,
  VIRQ_XENPMU,
};

/** `dom DOMID_SELF, remote_dom 2`. */
export function argumentWords({ said }: Hypercall): string {
  const words = Object.entries(fieldsOf(said, 'args')).map(
    ([name, value]) => `${name} ${valueWord(name, value)}`,
  );
  return words.length === 0 ? 'nothing' : words.join(', ');
}

function valueWord(name: string, value: unknown): string {
  if (/(^|_)dom$/.test(name) && value === DOMID_SELF) return 'DOMID_SELF';
  const virq = Object.entries(virqs).find(([, number]) => number === value)?.[0];
  return name === 'virq' && virq !== undefined ? `${virq} (${String(value)})` : String(value);
}
