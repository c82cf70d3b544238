/**
 * A ring by hand, with every index printed: `npx -y pnpm tsx examples/ring-by-hand.ts`
 *
 * A service that squares numbers, over a ring of four slots in a page of domain 1 (the frontend) that domain 0 (the
 * backend) maps. Watch when a push says that the other end wants to be notified, and when it does not.
 */
import {
  BackRing,
  bootGuest,
  createDomain,
  createMachine,
  FrontRing,
  type RingLayout,
} from '@ringside/gnttab-core';
import { struct, u32 } from '@ringside/gnttab-core/abi';

// A slot holds one number: the request, and later, in its place, the response.
interface Message {
  value: number;
}
const message = struct('square_message', { value: u32 });
const read = (view: DataView, offsetBytes: number, into: Message) => {
  into.value = message.decode(view, offsetBytes).value;
};
const write = (view: DataView, offsetBytes: number, from: Readonly<Message>) =>
  message.encode(view, offsetBytes, from);
const layout: RingLayout<Message, Message> = {
  name: 'square',
  slotBytes: message.size,
  requestBytes: message.size,
  responseBytes: message.size,
  newRequest: () => ({ value: 0 }),
  newResponse: () => ({ value: 0 }),
  readRequest: read,
  writeRequest: write,
  readResponse: read,
  writeResponse: write,
};
const fourSlots = { sizeBytes: 64 + 4 * message.size };

const machine = createMachine({ seed: 1 });
const dom0 = bootGuest(createDomain(machine, { pages: 64, privileged: true }));
const dom1 = bootGuest(createDomain(machine, { pages: 64 }));
const page = dom1.memory.allocPage();
const front = FrontRing.create(dom1.memory, page.va, layout, fourSlots);
const mapping = dom0.mappings.map(dom1.id, dom1.grants.grantForeignAccess(dom0.id, page));
const back = BackRing.attach(dom0.memory, mapping.va, layout, fourSlots);

function show(step: string): void {
  const { reqProd, reqEvent, rspProd, rspEvent } = front.shared;
  const requests = `req_prod_pvt ${front.reqProdPvt}  req_prod ${reqProd}  req_cons ${back.reqCons}`;
  const responses = `rsp_prod_pvt ${back.rspProdPvt}  rsp_prod ${rspProd}  rsp_cons ${front.rspCons}`;
  console.log(`${step}\n    ${requests}  req_event ${reqEvent}`);
  console.log(`    ${responses}  rsp_event ${rspEvent}`);
}
const values = (messages: readonly Message[]) => messages.map(({ value }) => value);
const list = (numbers: readonly number[]) => numbers.join(', ');
const yes = (answer: boolean) => (answer ? 'yes' : 'no');

show('a new ring: each end asks to be told of the first message');
for (const value of [2, 3, 5]) front.put({ value });
show('the frontend puts 2, 3, 5; nobody can see them yet');
show(`it pushes them. Notify? ${yes(front.pushRequestsAndCheckNotify())}`);
const work = values(back.drainRequests().items);
show(`the backend takes ${list(work)}`);
front.put({ value: 7 });
show(`the frontend puts and pushes 7. Notify? ${yes(front.pushRequestsAndCheckNotify())}`);
console.log(`is the ring full? ${yes(front.isFull)}: four requests wait for their responses`);
show(`before it sleeps, the backend looks again. More? ${yes(back.finalCheckForRequests())}`);
work.push(...values(back.drainRequests().items));
show(`it takes 7 and looks again. More? ${yes(back.finalCheckForRequests())}; now it asks for 5`);
const squares = work.map((value) => value ** 2);
for (const value of squares) back.put({ value });
show(`it puts and pushes ${list(squares)}. Notify? ${yes(back.pushResponsesAndCheckNotify())}`);
show(`the frontend takes ${list(values(front.drainResponses().items))}`);
show(`it looks again. More? ${yes(front.finalCheckForResponses())}; it asks for response 5`);
front.put({ value: 11 });
show(`it pushes 11, in slot 0 again. Notify? ${yes(front.pushRequestsAndCheckNotify())}`);
