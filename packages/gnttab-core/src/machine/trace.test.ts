import { describe, expect, it } from 'vitest';
import { addTo, counterAt } from './counters.ts';
import { createMachine } from './create-machine.ts';
import { Machine } from './machine.ts';
import { TRACE } from './trace-kinds.ts';
import type { TraceRecord } from './trace.ts';

const machineWith = (traceRecords: number) =>
  createMachine({ memoryPages: 512, seed: 1, traceRecords });

describe('the trace', () => {
  it('is off until it is switched on', () => {
    const { trace } = machineWith(16);
    trace.emit(TRACE.evtchnClose, 1, 5);
    expect([trace.enabled, trace.written]).toEqual([false, 0]);
    trace.enabled = true;
    trace.emit(TRACE.evtchnClose, 1, 5);
    trace.enabled = false;
    trace.emit(TRACE.evtchnClose, 1, 6);
    expect(trace.records()).toEqual([
      {
        sequence: 0,
        timeNs: 0,
        kind: TRACE.evtchnClose,
        name: 'evtchn_close',
        domid: 1,
        args: { port: 5 },
      },
    ]);
  });

  it('keeps the last records when the ring laps itself', () => {
    const { trace } = machineWith(16);
    trace.enabled = true;
    for (let n = 0; n < 100; n++) trace.emit(TRACE.evtchnClose, 0, n);
    expect(trace.records().map(({ args }) => args['port'])).toEqual(
      Array.from({ length: 16 }, (_, n) => 84 + n),
    );
    expect(trace.records(95).map(({ sequence }) => sequence)).toEqual([95, 96, 97, 98, 99]);
    expect(trace.written).toBe(100);
  });

  it.each([1, 2, 16, 64])(
    'hands every record once to onRecords, in order (room for %i)',
    (room) => {
      const { trace } = machineWith(room);
      const seen: number[] = [];
      trace.onRecords = (records: TraceRecord[]) =>
        seen.push(...records.map(({ sequence }) => sequence));
      trace.enabled = true;
      for (let n = 0; n < 1000; n++) {
        trace.emit(TRACE.evtchnClose, 0, n);
        if (n % 77 === 0) trace.flush();
      }
      trace.flush();
      trace.flush();
      expect(seen).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    },
  );

  it('without room stays off, and its neighbours in memory as they are', () => {
    const machine = machineWith(0);
    machine.trace.enabled = true;
    machine.trace.emit(TRACE.evtchnClose, 0, 1);
    expect([machine.trace.enabled, machine.trace.records()]).toEqual([false, []]);
    expect(() => new Machine(machine.share())).not.toThrow();
  });

  it('is one for all handles on the memory', () => {
    const machine = machineWith(16);
    machine.trace.enabled = true;
    const second = new Machine(machine.share());
    machine.trace.emit(TRACE.evtchnClose, 0, 1);
    second.trace.emit(TRACE.evtchnClose, 0, 2);
    for (const { trace } of [machine, second]) {
      expect(trace.records().map(({ args }) => args['port'])).toEqual([1, 2]);
    }
  });

  it('must have a power of two of records', () => {
    expect(() => machineWith(24)).toThrow(/traceRecords 24 is not a power of two/);
  });
});

describe('counters', () => {
  it('go on beyond 32 bits', () => {
    const u32 = new Uint32Array(4);
    const amounts = [0xffff_ffff, 1, 0xffff_ffff, 0xffff_ffff, 2 ** 40, 3];
    for (const amount of amounts) addTo(u32, 8, amount);
    expect(counterAt(u32, 8)).toBe(amounts.reduce((a, b) => a + b));
    expect([u32[0], u32[1]]).toEqual([0, 0]);
  });
});
