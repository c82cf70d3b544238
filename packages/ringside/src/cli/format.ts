/** Numbers and tables for people. */

/** 1234567 as 1,234,567. */
export const count = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

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
