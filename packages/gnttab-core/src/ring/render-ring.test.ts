import { expect, it } from 'vitest';
import { renderRing } from './render-ring.ts';
import { ringPair } from './testing.ts';

it('draws every stage of a request, across the wrap', () => {
  const { front, back } = ringPair(8, 0xffff_fffd);
  const put = (count: number) => {
    for (let id = 0; id < count; id++) front.put({ id });
  };
  put(5);
  front.pushRequests();
  back.drainRequests(4);
  back.put({ id: 0 });
  back.pushResponses();
  back.put({ id: 1 });
  put(2);
  expect(renderRing(front, back).split('\n')).toEqual([
    'index     slot  holds',
    'fffffffd     5  response                <- rsp_cons',
    'fffffffe     6  response, not pushed    <- rsp_prod, req_event, rsp_event',
    'ffffffff     7  in work                 <- rsp_prod_pvt',
    '00000000     0  in work',
    '00000001     1  request                 <- req_cons',
    '00000002     2  request, not pushed     <- req_prod',
    '00000003     3  request, not pushed',
    '00000004     4  free                    <- req_prod_pvt',
  ]);
});

it('draws a full ring, whose producer is one round ahead, and indices that point outside', () => {
  const { front, back, shared } = ringPair(2);
  front.put({ id: 0 });
  front.put({ id: 1 });
  shared.reqEvent = 0x8000_0000;
  expect(renderRing(front, back).split('\n')).toEqual([
    'index     slot  holds',
    '00000000     0  request, not pushed     <- rsp_cons, rsp_prod, rsp_prod_pvt, req_cons, req_prod',
    '00000001     1  request, not pushed     <- rsp_event',
    '00000002     0  (the first slot again)  <- req_prod_pvt',
    '80000000        <- req_event, outside the ring',
  ]);
});
