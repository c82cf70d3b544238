/** How far a job has come; whoever shows it looks at it from time to time. */
export class Progress {
  phase = '';
  done = 0;
  total = 0;
  unit: 'bytes' | 'frames' | 'steps' = 'bytes';

  begin(phase: string, total: number, unit: Progress['unit']): void {
    this.phase = phase;
    this.total = total;
    this.unit = unit;
    this.done = 0;
  }

  advance(by: number): void {
    this.done += by;
  }
}
