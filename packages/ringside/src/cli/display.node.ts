/** Progress on a terminal: a line for each step, the current one redrawn until it is done. Silent anywhere else. */
import type { Progress } from '../workload/progress.ts';
import { bytes, count } from './format.ts';

const REDRAW_MS = 80;
const BAR_CELLS = 24;
/** A narrower screen has no room for a bar. */
const BAR_COLUMNS = 60;
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const TITLE_CELLS = 12;

const HIDE_CURSOR = '\x1b[?25l';
const SHOW_CURSOR = '\x1b[?25h';
const CLEAR_LINE = '\r\x1b[2K';

/** What is drawn on; process.stderr is one. */
export interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Shows the steps of a run on a screen, if it is a terminal. */
export class Display {
  readonly #screen: Screen;
  readonly #isOn: boolean;
  readonly #paint: (code: number, text: string) => string;
  #timer: NodeJS.Timeout | undefined;
  #title = '';
  #parts: readonly Progress[] = [];
  #startMs = 0;
  #frame = 0;

  constructor(screen: Screen, environment: Readonly<Record<string, string | undefined>>) {
    this.#screen = screen;
    this.#isOn = screen.isTTY === true && environment['TERM'] !== 'dumb';
    this.#paint = environment['NO_COLOR']
      ? (_, text) => text
      : (code, text) => `\x1b[${code}m${text}\x1b[0m`;
  }

  /** The step before is done; this one begins. */
  step(title: string, parts: readonly Progress[]): void {
    if (!this.#isOn) return;
    if (this.#timer === undefined) {
      this.#screen.write(HIDE_CURSOR);
      this.#timer = setInterval(() => this.#draw(), REDRAW_MS);
      this.#timer.unref();
    } else {
      this.#seal(32, '✔');
    }
    this.#title = title;
    this.#parts = parts;
    this.#startMs = performance.now();
    this.#draw();
  }

  /** Nothing more will be drawn. */
  end(isOk: boolean): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (isOk) this.#seal(32, '✔');
    else this.#seal(31, '✘');
    this.#screen.write(SHOW_CURSOR);
  }

  #seal(colour: number, mark: string): void {
    const { amount, elapsed } = this.#state();
    const what = amount === '' ? elapsed : `${amount} in ${elapsed}`;
    this.#screen.write(`${CLEAR_LINE}${this.#paint(colour, mark)} ${this.#titled(what)}\n`);
  }

  /** Fits one line, so that redrawing it never scrolls. */
  #draw(): void {
    const { share, amount, elapsed, phases } = this.#state();
    const spinner = this.#paint(36, SPINNER[this.#frame++ % SPINNER.length]!);
    const columns = this.#screen.columns || 80;
    const bar = share === undefined || columns < BAR_COLUMNS ? '' : `${this.#bar(share)} `;
    const room = columns - TITLE_CELLS - (bar === '' ? 0 : BAR_CELLS + 1) - 4;
    const text = [amount, elapsed, phases].filter((part) => part !== '').join('  ');
    this.#screen.write(
      `${CLEAR_LINE}${spinner} ${this.#titled(bar + text.slice(0, Math.max(0, room)))}`,
    );
  }

  #titled(text: string): string {
    return `${this.#title.padEnd(TITLE_CELLS)} ${text}`;
  }

  /** How far the step is, as text. */
  #state() {
    const elapsed = `${((performance.now() - this.#startMs) / 1000).toFixed(1)} s`;
    const active = this.#parts.filter(({ phase }) => phase !== '');
    const total = active.reduce((sum, part) => sum + part.total, 0);
    const done = active.reduce((sum, part) => sum + part.done, 0);
    const unit = active[0]?.unit;
    const amount =
      unit === undefined ? '' : unit === 'bytes' ? bytes(done) : `${count(done)} ${unit}`;
    const phases = [...new Set(active.map(({ phase }) => phase))].join(', ');
    return { share: total > 0 ? Math.min(1, done / total) : undefined, amount, elapsed, phases };
  }

  #bar(share: number): string {
    const full = Math.round(share * BAR_CELLS);
    return this.#paint(32, '━'.repeat(full)) + this.#paint(90, '━'.repeat(BAR_CELLS - full));
  }
}
