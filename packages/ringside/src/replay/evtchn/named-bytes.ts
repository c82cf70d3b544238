/** Bytes that have a name. */
import type { Report } from '../difference.ts';
import { describeBytes, differentCells } from '../page.ts';

/** Some bytes of a page with their name, and their value in words. */
export interface NamedBytes {
  readonly name: string;
  /** From the start of the page. */
  readonly offset: number;
  readonly size: number;
  words(bytes: DataView): string;
}

/** Reports what differs of a page: by name what has one, and the rest as bytes of `page`. */
export function describeNamed(
  page: string,
  nameOf: (offset: number) => NamedBytes | undefined,
  expected: Uint8Array,
  got: Uint8Array,
  report: Report,
): void {
  const rest = got.slice();
  let end = 0;
  for (const at of differentCells(expected, got, 1)) {
    if (at < end) continue;
    const named = nameOf(at);
    if (named === undefined) {
      rest[at] = expected[at]!;
      continue;
    }
    end = named.offset + named.size;
    report(named.name, named.words(viewOn(expected, named)), named.words(viewOn(got, named)));
  }
  if (differentCells(rest, got, 1).length > 0) describeBytes(page, rest, got, report);
}

const viewOn = (page: Uint8Array, { offset, size }: NamedBytes): DataView =>
  new DataView(page.buffer, page.byteOffset + offset, size);
