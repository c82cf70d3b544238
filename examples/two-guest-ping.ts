/**
 * The two-guest ping: `npx -y pnpm tsx examples/two-guest-ping.ts`
 *
 * Two guests have a network interface each, on a bridge in the driver domain. A frame from one to the other is never
 * copied between domains: the page that it lies in changes hands, twice.
 */
import { createMachine } from '@ringside/gnttab-core';
import { connectNetfront, startNetback } from '@ringside/netif';
import { startToolstack } from '@ringside/ringside';
import { filter, firstValueFrom, map, mergeAll } from 'rxjs';

const machine = createMachine({ seed: 7 });
const toolstack = await startToolstack(machine);
const driver = await toolstack.createDomain({ name: 'driver', pages: 2048 });
const ann = await toolstack.createDomain({ name: 'ann', pages: 1024 });
const bob = await toolstack.createDomain({ name: 'bob', pages: 1024 });
const domains = [ann, driver, bob];

// The driver domain serves whatever the toolstack attaches. The guests find their vifs in XenStore and connect.
const netback = startNetback(driver);
await toolstack.attachVif({ front: ann, back: driver, mac: '00:16:3e:00:00:0a' });
await toolstack.attachVif({ front: bob, back: driver, mac: '00:16:3e:00:00:0b' });
const annsVif = await connectNetfront({ ...ann, handle: 0 });
const bobsVif = await connectNetfront({ ...bob, handle: 0 });
const { rx, tx } = annsVif.modes;
console.log(
  `vifs ${annsVif.mac} and ${bobsVif.mac} are connected: receive by ${rx}, send by ${tx}`,
);

/** An Ethernet frame with a text in it, of the type that is free for experiments. */
function frame(destination: string, source: string, text: string): Uint8Array {
  const octets = (mac: string) => mac.split(':').map((octet) => Number.parseInt(octet, 16));
  const payload = new TextEncoder().encode(text.padEnd(46));
  return Uint8Array.of(...octets(destination), ...octets(source), 0x88, 0xb5, ...payload);
}
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes.subarray(14)).trimEnd();

// Bob answers every ping.
const heard$ = bobsVif.packets$.pipe(
  mergeAll(),
  map(textOf),
  filter((text) => text.startsWith('ping')),
);
heard$.subscribe((text) => {
  console.log(`  bob receives "${text}" and answers`);
  bobsVif.send(frame(annsVif.mac, bobsVif.mac, text.replace('ping', 'pong')));
});

for (const text of ['ping 1', 'ping 2', 'ping 3']) {
  console.log(`ann sends "${text}"`);
  const answer = firstValueFrom(annsVif.packets$);
  annsVif.send(frame(bobsVif.mac, annsVif.mac, text));
  for (const bytes of await answer) console.log(`  ann receives "${textOf(bytes)}"`);
}

const { flooded, forwarded } = netback.bridge.counters;
console.log(`the bridge sent ${flooded} frame everywhere, ${forwarded} to the port it had learned`);
for (const { name, guest } of domains) {
  const { transfers, copies } = guest.domain.counters();
  console.log(`${name} gave ${transfers} pages away, and had ${copies} copies made`);
}
