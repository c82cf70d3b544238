/** `ringside demo` */
import { type DemoResult, type DemoStep, runDemo } from '../scenario/demo.ts';
import { count, counted } from './format.ts';
import { counterTable, diskTable, netTable } from './report.ts';
import type { Outcome, Session } from './session.node.ts';

const TITLES: Readonly<Record<DemoStep, string>> = {
  connect: 'connect',
  disk: 'disks',
  net: 'network',
  ping: 'ping',
  disconnect: 'disconnect',
};

/** Three domains, a disk and a vif for each guest, and every byte compared. */
export async function demo(session: Session): Promise<Outcome> {
  const machine = session.createMachine();
  const names = ['driver', 'guest1', 'guest2'];
  names.forEach((name, i) => session.names.set(i + 1, name));
  const result = await runDemo({
    machine,
    onStep: (step, progress) => session.display.step(TITLES[step], progress),
  });
  const { ok, failures, ...rest } = result;
  return { ok, result: { ...rest, failures }, lines: linesOf(result), complaints: failures };
}

function linesOf({ ok, disk, net, domains, verifiedBytes }: DemoResult): string[] {
  const verdict = ok
    ? `${counted(verifiedBytes, 'byte')} compared, every one is right`
    : `${count(verifiedBytes)} bytes are right, and not all are`;
  return [...diskTable(disk), '', ...netTable(net), '', ...counterTable(domains), '', verdict];
}
