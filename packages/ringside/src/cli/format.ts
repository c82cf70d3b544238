/** Numbers and tables for people. */

/** 1234567 as 1,234,567. */
export const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

/** `1 file`, `2 files`, `1,234 files`; `many` where an s does not do. */
export const counted = (value: number, one: string, many = `${one}s`): string =>
  `${count(value)} ${value === 1 ? one : many}`;

/** Three significant digits and a unit. */
function scaled(value: number, step: number, units: readonly string[]): string {
  let unit = 0;
  let scaledValue = value;
  while (scaledValue >= (step === 1000 ? 999.5 : 1023.5) && unit < units.length - 1) {
    scaledValue /= step;
    unit++;
  }
  const digits = unit === 0 || scaledValue >= 99.95 ? 0 : scaledValue >= 9.995 ? 1 : 2;
  return `${scaledValue.toFixed(digits)} ${units[unit]}`;
}

/** 1536 as 1.50 KiB. */
export const bytes = (value: number): string =>
  scaled(value, 1024, ['B', 'KiB', 'MiB', 'GiB', 'TiB']);
/** 1500 ns as 1.50 µs. */
export const duration = (ns: number): string => scaled(ns, 1000, ['ns', 'µs', 'ms', 's']);

/** Units of points in time, by how long the whole is: all times of a table are in one, and can be compared. */
const TIME_UNITS = [
  { belowNs: 1e6, ns: 1e3, digits: 3, name: 'µs' },
  { belowNs: 1e9, ns: 1e6, digits: 3, name: 'ms' },
  { belowNs: Infinity, ns: 1e9, digits: 6, name: 's' },
] as const;

/** Points in time as text: with its unit, and without. */
export interface TimeFormat {
  readonly time: (ns: number) => string;
  /** `0.134 to 0.140 ms`; one time if both are the same. */
  readonly span: (fromNs: number, toNs: number) => string;
}

/**
 * A format for points in time from 0 to `endNs`: `134.605 µs`, `0.135 ms`, `0.012345 s`. Rounded up, so that whatever has
 * happened at a time has happened by the time that is printed.
 */
export function timeFormat(endNs: number): TimeFormat {
  const { ns: unitNs, digits, name } = TIME_UNITS.find(({ belowNs }) => endNs < belowNs)!;
  const stepNs = unitNs / 10 ** digits;
  const number = (ns: number) => ((Math.ceil(ns / stepNs) * stepNs) / unitNs).toFixed(digits);
  return {
    time: (ns) => `${number(ns)} ${name}`,
    span: (fromNs, toNs) => {
      const [from, to] = [number(fromNs), number(toNs)];
      return from === to ? `${from} ${name}` : `${from} to ${to} ${name}`;
    },
  };
}

/** 4096 as 4k: as it was, or could have been, given as an option. */
export const size = (value: number): string =>
  value % 2 ** 20 === 0
    ? `${value / 2 ** 20}M`
    : value % 1024 === 0
      ? `${value / 1024}k`
      : `${value}`;

/** Which edge of a column its cells touch. */
export type Align = 'left' | 'right';

/** Lines with aligned columns; the first column is left, all others are right unless `align` says otherwise. */
export function table(
  rows: readonly (readonly string[])[],
  align: readonly Align[] = [],
): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  }
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const side = align[i] ?? (i === 0 ? 'left' : 'right');
        return side === 'left' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** Lines cut to a screen, so that none wraps and the first does not scroll away; what is left out is said. */
export function fitted(
  lines: readonly string[],
  { columns, rows }: { readonly columns: number; readonly rows: number },
): string[] {
  const isTooLong = lines.length > rows;
  const shown = isTooLong ? lines.slice(0, Math.max(0, rows - 1)) : lines;
  const more = isTooLong ? [`… ${counted(lines.length - shown.length, 'more line')}`] : [];
  return [...shown, ...more].map((line) =>
    line.length > columns ? `${line.slice(0, Math.max(0, columns - 1))}…` : line,
  );
}
