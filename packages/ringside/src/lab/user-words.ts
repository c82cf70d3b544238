/** Who maps a page, as every table of the lab has it, and as the sentences on refused ends do. */

/** A mapping as far as it is known. */
export interface UserWords {
  /** What the mapper is called. */
  readonly mapper: string;
  readonly readonly: boolean;
  /** Has a half for the CPUs, one for devices. */
  readonly host: boolean;
  readonly device: boolean;
  /** One of the halves was unmapped, and it is not known which. */
  readonly half?: boolean;
  /** Address or state of the host half. */
  readonly place?: string;
  readonly handle: number;
}

/** `driver read-only at 0x60002000 (handle 0)`. */
export function userWords(words: UserWords): string {
  const { mapper, readonly, host, device, half = false, place, handle } = words;
  return [
    mapper,
    readonly ? 'read-only' : 'writable',
    ...(place === undefined ? [] : [place]),
    ...(host && device ? [half ? 'or' : 'and'] : []),
    ...(device ? ['for devices'] : []),
    `(handle ${handle})`,
  ].join(' ');
}
