/** Replays a recording of the genuine xenstored against the pure store: each step's replies and events must be the recorded ones. */
import { Buffer } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { MessageParser, watchEventMessage, XenStore } from '@ringside/xenstore-lite';
import {
  XS_DIRECTORY_PART,
  XS_TRANSACTION_START,
  XS_WATCH,
  XS_WATCH_EVENT,
} from '@ringside/xenstore-lite/abi';
import type { Connection, Message, WatchEvent } from '@ringside/xenstore-lite';

/** One recorded message, or what happened to a connection instead. */
interface RecordedMessage {
  readonly conn: number;
  readonly type: number;
  readonly req_id: number;
  readonly tx_id: number;
  readonly payload_hex: string;
  readonly closed?: true;
  readonly no_reply?: true;
}

/** One line of a recording; README.md of the recordings says what each field means. */
interface Step {
  readonly meta?: 'fresh-server';
  readonly args?: readonly string[];
  readonly action?:
    | 'hypervisor_domain_created'
    | 'hypervisor_domain_destroyed'
    | 'hypervisor_domain_shutdown';
  readonly domid?: number;
  readonly conn?: number;
  readonly open?: { readonly kind: 'socket' | 'domain'; readonly domid?: number };
  readonly close?: true;
  readonly op?: string;
  readonly send?: RecordedMessage & { readonly text: string };
  readonly send_raw_hex?: readonly string[];
  readonly recv?: readonly RecordedMessage[];
  readonly alt?: Readonly<Record<string, readonly RecordedMessage[]>>;
  readonly mask?: 'transaction-id' | 'gencnt';
  readonly bind_tx?: number;
  readonly note?: string;
}

export interface Replayed {
  /** Equal to the recording of 4.17. */
  readonly same: number;
  /** Equal to what 4.23 answers instead. */
  readonly newer: number;
  readonly mismatches: readonly string[];
}

/** A connection of the replay and what it has been sent in the current step. */
class ReplayClient {
  readonly connection: Connection;
  readonly parser = new MessageParser();
  /** Recorded transaction id to ours. */
  readonly txIds = new Map<number, number>();
  readonly inbox: Message[] = [];
  isSocket: boolean;
  /** What stands for the connection in each step once it broke the protocol. */
  fate: 'alive' | 'closed' | 'closed before' | 'no reply' = 'alive';

  constructor(connection: Connection, isSocket: boolean) {
    this.connection = connection;
    this.isSocket = isSocket;
  }
}

export const readRecording = (file: URL): Step[] =>
  gunzipSync(readFileSync(file))
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Step);

export class Replay {
  #store = new XenStore();
  readonly #clients = new Map<number, ReplayClient>();
  readonly #hypervisorDomains = new Set<number>();
  /** Connection and token of the watches that 4.17 refused and 4.23 accepted. */
  readonly #newerWatches = new Set<string>();

  /** Runs a whole recording. `order`: strict compares lists, loose each connection's replies in order and events as a set. */
  run(recording: readonly Step[], order: 'strict' | 'loose'): Replayed {
    let [same, newer] = [0, 0];
    const mismatches: string[] = [];
    for (const [line, step] of recording.entries()) {
      if (this.#prepare(step)) continue;
      const got = this.#perform(step);
      // Of things that happen outside, only the set of events is promised.
      const compare = step.action ? 'loose' : order;
      const old = got.filter((message) => !this.#isOfNewerWatch(message));
      if (this.#equal(step, step.recv ?? [], old, compare)) {
        same++;
      } else if (Object.values(step.alt ?? {}).some((it) => this.#equal(step, it, got, compare))) {
        newer++;
        if (step.send?.type === XS_WATCH && got[0]?.type === XS_WATCH)
          this.#newerWatches.add(tokenOf(step));
      } else {
        mismatches.push(this.#describe(line, step, got));
      }
    }
    return { same, newer, mismatches };
  }

  /** Lines that set the scene and are not compared. */
  #prepare(step: Step): boolean {
    if (step.meta) {
      this.#clients.clear();
      this.#hypervisorDomains.clear();
      const domainExists = (domid: number) => this.#hypervisorDomains.has(domid);
      this.#store = new XenStore({ domainExists });
      return true;
    }
    if (step.action === 'hypervisor_domain_created') {
      this.#hypervisorDomains.add(step.domid!);
      return true;
    }
    if (step.open) {
      const connection = this.#store.connect(step.open.domid ?? 0);
      this.#clients.set(step.conn!, new ReplayClient(connection, step.open.kind === 'socket'));
      return true;
    }
    if (step.close) {
      this.#store.disconnect(this.#clients.get(step.conn!)!.connection);
      this.#clients.delete(step.conn!);
      return true;
    }
    return false;
  }

  /** Carries out a step; answers everything that the clients got, the sender's first. */
  #perform(step: Step): RecordedMessage[] {
    if (step.action === 'hypervisor_domain_shutdown') {
      this.#deliver(this.#store.domainShutDown(step.domid!).events);
    } else if (step.action === 'hypervisor_domain_destroyed') {
      this.#hypervisorDomains.delete(step.domid!);
      this.#deliver(this.#store.domainDestroyed(step.domid!).events);
    } else if (step.send) {
      const { type, req_id: reqId, tx_id, payload_hex } = step.send;
      const client = this.#clients.get(step.conn!)!;
      const txId = client.txIds.get(tx_id) ?? tx_id;
      const reply = this.#request(client, {
        type,
        reqId,
        txId,
        payload: Buffer.from(payload_hex, 'hex'),
      });
      if (step.bind_tx !== undefined)
        client.txIds.set(step.bind_tx, Number.parseInt(textOf(reply)));
    } else {
      for (const hex of step.send_raw_hex ?? []) this.#bytes(step.conn!, Buffer.from(hex, 'hex'));
    }
    const numbers = [...this.#clients.keys()].toSorted((a, b) => a - b);
    const senderFirst = numbers.toSorted((a, b) => +(b === step.conn) - +(a === step.conn));
    return senderFirst.flatMap((number) => this.#received(number, step));
  }

  #bytes(number: number, chunk: Uint8Array): void {
    const client = this.#clients.get(number)!;
    const { messages, tooLong } = client.parser.push(chunk);
    for (const message of messages) this.#request(client, message);
    if (tooLong === undefined || client.fate !== 'alive') return;
    // A socket is closed; a domain's ring is ignored from then on.
    client.fate = client.isSocket ? 'closed' : 'no reply';
    if (client.isSocket) this.#store.disconnect(client.connection);
  }

  #request(client: ReplayClient, request: Message): Message {
    const { reply, events, replyFirst } = this.#store.handle(client.connection, request);
    if (replyFirst) client.inbox.push(reply);
    this.#deliver(events);
    if (!replyFirst) client.inbox.push(reply);
    return reply;
  }

  #deliver(events: readonly WatchEvent[]): void {
    for (const event of events) {
      const client = [...this.#clients.values()].find((it) => it.connection === event.connection)!;
      client.inbox.push(watchEventMessage(event));
    }
  }

  #received(number: number, step: Step): RecordedMessage[] {
    const client = this.#clients.get(number)!;
    const nothing = { conn: number, type: 0, req_id: 0, tx_id: 0, payload_hex: '' };
    if (client.fate === 'no reply') return [{ ...nothing, no_reply: true }];
    if (client.fate === 'closed') {
      client.fate = 'closed before';
      return [{ ...nothing, closed: true }];
    }
    const recordedTxIds = new Map([...client.txIds].map(([recorded, ours]) => [ours, recorded]));
    return client.inbox.splice(0).map(({ type, reqId, txId, payload }) => ({
      conn: number,
      type,
      req_id: reqId,
      tx_id:
        number === step.conn && type !== XS_WATCH_EVENT ? (recordedTxIds.get(txId) ?? txId) : txId,
      payload_hex: Buffer.from(payload).toString('hex'),
    }));
  }

  /** An event that 4.17 could not send, because it had refused the watch. */
  #isOfNewerWatch({ conn, type, payload_hex }: RecordedMessage): boolean {
    const [, token] = Buffer.from(payload_hex, 'hex').toString('latin1').split('\0');
    return type === XS_WATCH_EVENT && this.#newerWatches.has(`${conn} ${token}`);
  }

  #equal(
    step: Step,
    want: readonly RecordedMessage[],
    got: readonly RecordedMessage[],
    order: 'strict' | 'loose',
  ): boolean {
    const isEvent = ({ type }: RecordedMessage) => type === XS_WATCH_EVENT;
    const list = (messages: readonly RecordedMessage[]) => messages.map((it) => written(step, it));
    const comparable = (messages: readonly RecordedMessage[]) =>
      order === 'strict'
        ? list(messages)
        : [
            ...list(messages.filter((it) => !isEvent(it))),
            ...list(messages.filter(isEvent)).toSorted(),
          ];
    return JSON.stringify(comparable(want)) === JSON.stringify(comparable(got));
  }

  #describe(number: number, step: Step, got: readonly RecordedMessage[]): string {
    const newer = Object.values(step.alt ?? {})[0];
    return [
      `line ${number + 1}: ${step.op ?? step.action ?? 'raw'} ${step.send?.text ?? ''} ${step.note ?? ''}`,
      `  recorded ${(step.recv ?? []).map((it) => written(step, it)).join(' | ')}`,
      ...(newer ? [`  or       ${newer.map((it) => written(step, it)).join(' | ')}`] : []),
      `  got      ${got.map((it) => written(step, it)).join(' | ')}`,
    ].join('\n');
  }
}

/** Connection and token that a WATCH step names. */
const tokenOf = ({ conn, send }: Step): string =>
  `${conn} ${Buffer.from(send!.payload_hex, 'hex').toString('latin1').split('\0')[1]}`;

const textOf = ({ payload }: Message): string => Buffer.from(payload).toString('latin1');

/** One message as text, without what is the server's own choice (transaction ids, generation counts). */
function written(step: Step, message: RecordedMessage): string {
  const { conn, type, req_id, tx_id, payload_hex, closed, no_reply } = message;
  if (closed) return `${conn}:closed`;
  if (no_reply) return `${conn}:no reply`;
  let payload = Buffer.from(payload_hex, 'hex').toString('latin1');
  const opaque = step.mask === 'transaction-id' || step.note?.includes('two transaction starts');
  if (opaque && type === XS_TRANSACTION_START) payload = '<transaction id>';
  if (step.mask === 'gencnt' && type === XS_DIRECTORY_PART) {
    payload = payload.replace(/^\d+/, '<generation>');
  }
  return `${conn}:${type}:${req_id}:${tx_id}:${JSON.stringify(payload)}`;
}
