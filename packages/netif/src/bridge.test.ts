import { beforeEach, describe, expect, test } from 'vitest';
import { Bridge } from './bridge.ts';
import type { Addressed, BridgeOptions, BridgePort, PortOptions, Verdict } from './bridge.ts';
import { broadcastMac, formatMac, isGroup, parseMac, readMac } from './mac.ts';

interface Packet extends Addressed {
  readonly copyOf?: Packet;
}

class TestPort implements BridgePort<Packet> {
  holding = false;
  readonly received: Packet[] = [];
  resumed = 0;
  output(packet: Packet) {
    this.received.push(packet);
  }
  resume() {
    this.resumed++;
  }
}

const [A, B, C, multicast] = [0x00163e000001, 0x00163e000002, 0x00163e000003, 0x01005e000001];
let nowNs: number;
let released: Packet[];
let clones: number;
let ports: [TestPort, TestPort, TestPort];

beforeEach(() => {
  nowNs = 0;
  released = [];
  clones = Infinity;
  ports = [new TestPort(), new TestPort(), new TestPort()];
});

function bridgeOf(
  options: Partial<BridgeOptions<Packet>> = {},
  portOptions: (PortOptions | undefined)[] = [],
): Bridge<Packet> {
  const bridge = new Bridge<Packet>({
    nowNs: () => nowNs,
    clone: (packet) => (clones-- > 0 ? { ...packet, copyOf: packet } : undefined),
    release: (packet) => released.push(packet),
    ...options,
  });
  ports.forEach((port, i) => bridge.addPort(port, portOptions[i]));
  return bridge;
}

const packet = (source: number, destination: number): Packet => ({ source, destination });

/** Ports that got something since the last call. */
function outputs(): number[] {
  const got = ports.flatMap((port, i) => (port.received.length > 0 ? [i] : []));
  for (const port of ports) port.received.length = 0;
  return got;
}

describe('who, from which port, to whom: where it goes', () => {
  type Step = [
    from: 0 | 1 | 2,
    source: number,
    destination: number,
    verdict: Verdict,
    to: number[],
  ];
  test.each<[string, Step[]]>([
    ['an unknown address is flooded', [[0, A, B, 'forwarded', [1, 2]]]],
    [
      'an address that was seen gets its packets alone',
      [
        [1, B, A, 'forwarded', [0, 2]],
        [0, A, B, 'forwarded', [1]],
      ],
    ],
    [
      'broadcast is flooded',
      [
        [1, B, A, 'forwarded', [0, 2]],
        [0, A, broadcastMac, 'forwarded', [1, 2]],
      ],
    ],
    ['multicast is flooded', [[2, C, multicast, 'forwarded', [0, 1]]]],
    [
      'a packet for its own port is filtered',
      [
        [0, A, C, 'forwarded', [1, 2]],
        [0, B, A, 'filtered', []],
      ],
    ],
    [
      'an address that moves is learned anew',
      [
        [0, A, C, 'forwarded', [1, 2]],
        [1, A, C, 'forwarded', [0, 2]],
        [2, C, A, 'forwarded', [1]],
      ],
    ],
    [
      'a group address as source is not learned',
      [
        [0, multicast, B, 'forwarded', [1, 2]],
        [1, B, multicast, 'forwarded', [0, 2]],
      ],
    ],
  ])('%s', (_name, steps) => {
    const bridge = bridgeOf();
    for (const [from, source, destination, verdict, to] of steps) {
      expect(bridge.forward(ports[from], packet(source, destination))).toBe(verdict);
      expect(outputs()).toEqual(to);
    }
  });
});

test('an address is forgotten after the ageing time without a sign of life', () => {
  const bridge = bridgeOf({ ageingNs: 1000 });
  bridge.forward(ports[1], packet(B, broadcastMac));
  nowNs = 1000;
  expect(bridge.lookup(B)).toBe(ports[1]);
  nowNs = 1001;
  expect(bridge.lookup(B)).toBeUndefined();
  bridge.forward(ports[1], packet(B, broadcastMac));
  expect(bridge.lookup(B)).toBe(ports[1]);
});

test.each<[string, Partial<BridgeOptions<Packet>>, PortOptions | undefined]>([
  ['ageing time 0 makes a hub', { ageingNs: 0 }, undefined],
  ['a port with learning off teaches nothing', {}, { learning: false }],
])(
  '%s: both directions of a recorded conversation pass from one port',
  (_name, options, portOptions) => {
    const bridge = bridgeOf(options, [portOptions]);
    for (const [source, destination] of [
      [A, B],
      [B, A],
      [A, B],
    ] as const) {
      expect(bridge.forward(ports[0], packet(source, destination))).toBe('forwarded');
      expect(outputs()).toEqual([1, 2]);
    }
  },
);

test('a port with flood off gets groups and its own packets only', () => {
  const bridge = bridgeOf({}, [undefined, { flood: false }]);
  bridge.forward(ports[0], packet(A, B));
  expect(outputs()).toEqual([2]);
  bridge.forward(ports[0], packet(A, broadcastMac));
  expect(outputs()).toEqual([1, 2]);
  bridge.forward(ports[1], packet(B, A));
  bridge.forward(ports[0], packet(A, B));
  expect(outputs()).toEqual([0, 1]);
});

test('flooding copies for all but the last port', () => {
  const original = packet(A, broadcastMac);
  bridgeOf().forward(ports[0], original);
  expect(ports[1].received).toEqual([{ ...original, copyOf: original }]);
  expect(ports[2].received[0]).toBe(original);
});

test('without memory for a copy the other ports still get the packet', () => {
  const bridge = bridgeOf();
  clones = 0;
  bridge.forward(ports[0], packet(A, broadcastMac));
  expect(outputs()).toEqual([2]);
  expect(bridge.counters.cloneFailures).toBe(1);
});

test('a packet without destination is released', () => {
  const bridge = bridgeOf();
  bridge.removePort(ports[1]);
  bridge.removePort(ports[2]);
  const lonely = packet(A, B);
  expect(bridge.forward(ports[0], lonely)).toBe('filtered');
  expect(released).toEqual([lonely]);
});

describe('back-pressure', () => {
  test('a full destination holds its senders, and resume wakes each of them once', () => {
    const bridge = bridgeOf();
    bridge.forward(ports[1], packet(B, broadcastMac));
    outputs();
    ports[1].holding = true;
    expect(bridge.forward(ports[0], packet(A, B))).toBe('held');
    expect(bridge.forward(ports[0], packet(A, B))).toBe('held');
    expect([...outputs(), released.length]).toEqual([0]);
    ports[1].holding = false;
    bridge.resume();
    bridge.resume();
    expect(ports.map((port) => port.resumed)).toEqual([1, 0, 0]);
    expect(bridge.forward(ports[0], packet(A, B))).toBe('forwarded');
  });

  test('a full destination does not hold packets for others', () => {
    const bridge = bridgeOf();
    bridge.forward(ports[1], packet(B, broadcastMac));
    outputs();
    ports[2].holding = true;
    expect(bridge.forward(ports[0], packet(A, B))).toBe('forwarded');
    expect(outputs()).toEqual([1]);
  });

  test('a flood is held as a whole: nobody gets it twice', () => {
    const bridge = bridgeOf();
    ports[2].holding = true;
    expect(bridge.forward(ports[0], packet(A, broadcastMac))).toBe('held');
    expect(outputs()).toEqual([]);
  });

  test('a port that goes away lets those who waited for it go on', () => {
    const bridge = bridgeOf();
    ports[1].holding = true;
    bridge.forward(ports[0], packet(A, broadcastMac));
    bridge.removePort(ports[1]);
    expect(ports[0].resumed).toBe(1);
  });
});

test('no guest can make the table of addresses grow without end', () => {
  const bridge = bridgeOf({ maxAddresses: 2, ageingNs: 1000 });
  for (const mac of [A, B, C]) bridge.forward(ports[0], packet(mac, broadcastMac));
  expect([A, B, C].map((mac) => bridge.lookup(mac))).toEqual([ports[0], ports[0], undefined]);
  nowNs = 2000;
  bridge.forward(ports[0], packet(C, broadcastMac));
  expect(bridge.lookup(C)).toBe(ports[0]);
});

describe('addresses', () => {
  test.each([
    ['00:16:3e:00:00:01', 0x00163e000001, false],
    ['ff:ff:ff:ff:ff:ff', broadcastMac, true],
    ['fe:dc:ba:98:76:54', 0xfedcba987654, false],
    ['01:00:5e:00:00:01', multicast, true],
  ])('%s', (text, mac, group) => {
    expect(parseMac(text)).toBe(mac);
    expect(formatMac(mac)).toBe(text);
    expect(isGroup(mac)).toBe(group);
    const bytes = Uint8Array.from([
      9,
      ...text.split(':').map((octet) => Number.parseInt(octet, 16)),
    ]);
    expect(readMac(bytes, 1)).toBe(mac);
  });

  test.each(['', 'zz', '00:16:3e:00:00', '00:16:3e:00:00:01:02', '00163e000001'])(
    '%j is none',
    (text) => {
      expect(parseMac(text)).toBeUndefined();
    },
  );
});
