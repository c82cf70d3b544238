/** Security catalogue, event channels: every case is a test of this folder, or is none of ours for a reason. */
import { checkCatalogue } from './catalogue.ts';

/** Cases that nothing here can have, and why. */
const notOurs: Readonly<Record<string, string>> = {
  'EV-02': 'physical interrupts: there is no hardware, and EVTCHNOP_bind_pirq gives nobody any',
  'EV-32': 'the drivers’ late EOI: a guest’s upcall does not mask the port that it serves',
  'EV-33': 'the drivers’ late EOI, at the other end',
};

checkCatalogue('event channel cases', 'EV', 35, /^event-.*\.test\.ts$/, notOurs);
