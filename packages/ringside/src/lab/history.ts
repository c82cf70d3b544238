/**
 * Who granted what to whom and who maps it, from the records of a trace. What a trace does not tell cannot be known here:
 * whose grants a copy used, and entries that a guest wrote without its kernel's help.
 */
import {
  GNTMAP_device_map,
  GNTMAP_host_map,
  GNTMAP_readonly,
  GNTTAB_NR_RESERVED_ENTRIES,
} from '@ringside/gnttab-core/abi';

/** What of a trace record is needed; a TraceRecord is one. */
export interface GrantRecord {
  readonly timeNs: number;
  /** Who did it. */
  readonly domid: number;
  /** Name of its kind. */
  readonly name: string;
  readonly args: Readonly<Record<string, number>>;
}

/** A mapping that has not been unmapped. */
export interface PastMapping {
  readonly sinceNs: number;
  readonly mapper: number;
  readonly handle: number;
  readonly granter: number;
  readonly ref: number;
  readonly host: boolean;
  readonly device: boolean;
  readonly readonly: boolean;
  /** It had a host and a device half, and one of them was unmapped; which one, the trace does not tell. */
  readonly half: boolean;
  /** Taken back: it waits for its unmap, and shows a private copy or nothing. */
  readonly revoked?: 'fault' | 'private-copy';
}

/** A grant that has not ended. */
export interface PastGrant {
  readonly granter: number;
  readonly ref: number;
  /** 'unknown': somebody maps it, and the trace does not tell how it was granted. */
  readonly kind: 'access' | 'read-only' | 'sub-page' | 'transitive' | 'transfer' | 'unknown';
  readonly to: number;
  /** Undefined for what the trace does not tell. */
  readonly sinceNs: number | undefined;
  /** A frame has come for this 'transfer'. */
  readonly completed: boolean;
  /** When its last time limit runs out. */
  readonly limitNs?: number;
}

/** An end that was refused, perhaps several times in a row. */
export interface RefusedEnd {
  readonly granter: number;
  readonly ref: number;
  readonly firstNs: number;
  readonly lastNs: number;
  readonly times: number;
  /** Who mapped it at the last time. Nobody: a copy was under way, or the granter had set the flags itself. */
  readonly mappings: readonly PastMapping[];
}

const keyOf = (domid: number, number: number): string => `${domid} ${number}`;

/** Takes records in order, and tells at any time how things stand. */
export class GrantHistory {
  readonly #grants = new Map<string, PastGrant>();
  readonly #mappings = new Map<string, PastMapping>();
  readonly #refused: RefusedEnd[] = [];
  /** Index in `#refused` of the present row of refusals of a grant. */
  readonly #refusing = new Map<string, number>();
  readonly #versions = new Map<number, number>();
  /** Destroyed domains; of their grants those remain that somebody maps. */
  readonly #gone = new Set<number>();
  /** What a record of each kind means. */
  readonly #rules: Readonly<Record<string, (record: GrantRecord) => void>> = {
    domain_create: (record) => this.#create(record),
    domain_destroy: (record) => this.#destroy(record),
    set_version: (record) => this.#setVersion(record),
    grant_access: (record) =>
      this.#grant(record, record.args['readonly'] === 1 ? 'read-only' : 'access'),
    grant_sub_page: (record) => this.#grant(record, 'sub-page'),
    grant_transitive: (record) => this.#grant(record, 'transitive'),
    grant_end: (record) => this.#end(record),
    grant_limit: (record) => this.#limit(record),
    grant_revoke: (record) => this.#revoke(record),
    swap_grant_ref: (record) => this.#swap(record),
    map_grant_ref: (record) => this.#map(record),
    unmap_grant_ref: (record) => this.#unmap(record),
    grant_transfer: (record) => this.#grant(record, 'transfer'),
    transfer: (record) => this.#transferred(record),
    grant_transfer_end: (record) => this.#endTransfer(record),
  };

  /** The grants that stand, by granter and reference. */
  get grants(): PastGrant[] {
    return [...this.#grants.values()]
      .filter((grant) => !this.#gone.has(grant.granter) || this.mappingsOf(grant).length > 0)
      .sort((a, b) => a.granter - b.granter || a.ref - b.ref);
  }

  /** The mappings of a grant, in the order in which they were made. */
  mappingsOf({ granter, ref }: Pick<PastGrant, 'granter' | 'ref'>): PastMapping[] {
    return [...this.#mappings.values()].filter(
      (mapping) =>
        mapping.granter === granter && mapping.ref === ref && mapping.revoked === undefined,
    );
  }

  /** Mappings that were taken back and wait for their unmap. */
  get revoked(): PastMapping[] {
    return [...this.#mappings.values()].filter(({ revoked }) => revoked !== undefined);
  }

  /** Every end that was refused. */
  get refused(): readonly RefusedEnd[] {
    return this.#refused;
  }

  add(record: GrantRecord): void {
    this.#rules[record.name]?.(record);
  }

  #grant(record: GrantRecord, kind: PastGrant['kind']): void {
    const { timeNs, domid, args } = record;
    const [ref, to] = [args['ref']!, args['dom']!];
    const grant = { granter: domid, ref, kind, to, sinceNs: timeNs, completed: false };
    this.#grants.set(keyOf(domid, ref), grant);
  }

  #map({ timeNs, domid, args }: GrantRecord): void {
    if (args['status'] !== 0) return;
    const [granter, ref, handle, flags] = [
      args['dom']!,
      args['ref']!,
      args['handle']!,
      args['flags'] ?? GNTMAP_host_map,
    ];
    const key = keyOf(granter, ref);
    if (!this.#grants.has(key)) {
      const unknown = { kind: 'unknown' as const, sinceNs: undefined, completed: false };
      this.#grants.set(key, { granter, ref, to: domid, ...unknown });
    }
    this.#mappings.set(keyOf(domid, handle), {
      sinceNs: timeNs,
      mapper: domid,
      handle,
      granter,
      ref,
      host: (flags & GNTMAP_host_map) !== 0,
      device: (flags & GNTMAP_device_map) !== 0,
      readonly: (flags & GNTMAP_readonly) !== 0,
      half: false,
    });
  }

  #unmap({ domid, args }: GrantRecord): void {
    const key = keyOf(domid, args['handle']!);
    const mapping = this.#mappings.get(key);
    if (mapping === undefined || args['status'] !== 0) return;
    if (mapping.host && mapping.device && !mapping.half) {
      this.#mappings.set(key, { ...mapping, half: true });
    } else this.#mappings.delete(key);
  }

  #end({ timeNs, domid, args }: GrantRecord): void {
    const ref = args['ref']!;
    const key = keyOf(domid, ref);
    const mappings = this.mappingsOf({ granter: domid, ref });
    if (args['busy'] === 0) {
      this.#grants.delete(key);
      this.#refusing.delete(key);
      for (const { mapper, handle } of mappings) this.#mappings.delete(keyOf(mapper, handle));
      return;
    }
    const row = this.#refusing.get(key) ?? this.#refused.length;
    const before = this.#refused[row];
    this.#refusing.set(key, row);
    this.#refused[row] = {
      granter: domid,
      ref,
      firstNs: before?.firstNs ?? timeNs,
      lastNs: timeNs,
      times: (before?.times ?? 0) + 1,
      mappings,
    };
  }

  #transferred({ args }: GrantRecord): void {
    const key = keyOf(args['dom']!, args['ref']!);
    const posted = this.#grants.get(key);
    if (posted === undefined || args['status'] !== 0) return;
    this.#grants.set(key, { ...posted, completed: true });
  }

  #endTransfer({ domid, args }: GrantRecord): void {
    this.#grants.delete(keyOf(domid, args['ref']!));
  }

  #limit({ timeNs, args }: GrantRecord): void {
    const key = keyOf(args['dom']!, args['ref']!);
    const grant = this.#grants.get(key);
    if (grant === undefined) return;
    this.#grants.set(key, { ...grant, limitNs: timeNs + args['timeout_us']! * 1000 });
  }

  /** Its entry is invalid from now on; the reference is free when its granter has ended it. */
  #revoke({ domid, args }: GrantRecord): void {
    const ref = args['ref']!;
    const revoked = args['copied'] === 0 ? ('fault' as const) : ('private-copy' as const);
    for (const mapping of this.mappingsOf({ granter: domid, ref })) {
      this.#mappings.set(keyOf(mapping.mapper, mapping.handle), { ...mapping, revoked });
    }
    this.#grants.delete(keyOf(domid, ref));
  }

  /** Only unused grants are exchanged. */
  #swap({ domid, args }: GrantRecord): void {
    if (args['status'] !== 0) return;
    const [a, b] = [args['ref_a']!, args['ref_b']!];
    const [first, second] = [keyOf(domid, a), keyOf(domid, b)];
    const [atFirst, atSecond] = [this.#grants.get(first), this.#grants.get(second)];
    this.#grants.delete(first);
    this.#grants.delete(second);
    if (atFirst !== undefined) this.#grants.set(second, { ...atFirst, ref: b });
    if (atSecond !== undefined) this.#grants.set(first, { ...atSecond, ref: a });
  }

  /** A change of version empties all entries but the reserved ones. */
  #setVersion({ domid, args }: GrantRecord): void {
    const version = args['version']!;
    if (args['result'] !== 0 || version === (this.#versions.get(domid) ?? 1)) return;
    this.#versions.set(domid, version);
    this.#forget(({ granter, ref }) => granter === domid && ref >= GNTTAB_NR_RESERVED_ENTRIES);
  }

  #create({ args }: GrantRecord): void {
    const domid = args['domid']!;
    this.#gone.delete(domid);
    this.#versions.delete(domid);
    this.#forget(({ granter }) => granter === domid);
  }

  /** Its mappings are gone. */
  #destroy({ args }: GrantRecord): void {
    const domid = args['domid']!;
    this.#gone.add(domid);
    for (const [key, { mapper }] of this.#mappings) {
      if (mapper === domid) this.#mappings.delete(key);
    }
  }

  #forget(which: (grant: PastGrant) => boolean): void {
    for (const [key, grant] of this.#grants) if (which(grant)) this.#grants.delete(key);
  }
}
