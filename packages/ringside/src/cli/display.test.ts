import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Progress } from '../workload/progress.ts';
import { Display } from './display.node.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function screen(isTTY: boolean, columns = 80) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) };
}

test('nothing is drawn where nobody looks', () => {
  const pipe = screen(false);
  const display = new Display(pipe, {});
  display.step('disks', [new Progress()]);
  vi.advanceTimersByTime(1000);
  display.end(true);
  expect(pipe.written).toEqual([]);
});

test('the current step is redrawn in its line; a step that is done keeps its line', () => {
  const terminal = screen(true);
  const display = new Display(terminal, { NO_COLOR: '1' });
  const progress = new Progress();
  display.step('disks', [progress]);
  progress.begin('read', 4096, 'bytes');
  progress.advance(1024);
  vi.advanceTimersByTime(80);
  expect(terminal.written.at(-1)).toBe(
    `\r\x1b[2K⠙ disks        ${'━'.repeat(24)} 1.00 KiB  0.1 s  read`,
  );
  progress.advance(3072);
  display.step('network', []);
  expect(terminal.written.at(-2)).toBe('\r\x1b[2K✔ disks        4.00 KiB in 0.1 s\n');
  display.end(false);
  expect(terminal.written.at(-2)).toBe('\r\x1b[2K✘ network      0.0 s\n');
  expect(terminal.written.at(-1)).toBe('\x1b[?25h');
  const lines = terminal.written.length;
  vi.advanceTimersByTime(1000);
  expect(terminal.written).toHaveLength(lines);
});

test.each([20, 59, 60, 80])('a line fits a terminal of %i columns', (columns) => {
  const terminal = screen(true, columns);
  const display = new Display(terminal, { NO_COLOR: '1' });
  const progress = new Progress();
  display.step('disks', [progress]);
  progress.begin('a phase with a very long name that goes on and on', 4096, 'bytes');
  vi.advanceTimersByTime(80);
  const cells = terminal.written.at(-1)!.replace('\r\x1b[2K', '').length;
  expect(cells).toBeLessThan(columns);
  display.end(true);
});
