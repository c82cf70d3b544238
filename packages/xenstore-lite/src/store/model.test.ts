/**
 * Random operations of several clients, in and out of transactions, against a store so plain that it is obviously right
 * and knows no transactions. The property: a transaction that commits has seen and done what it would have if all of it
 * had happened at its end; one that meets nobody commits.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  XS_DIRECTORY,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_WRITE,
} from '../wire/abi.ts';
import { bytesOf, textOf } from '../wire/text.ts';
import type { Connection } from './connection.ts';
import { XenStore } from './xenstore.ts';

const CLIENTS = 3;
const types = {
  read: XS_READ,
  directory: XS_DIRECTORY,
  write: XS_WRITE,
  mkdir: XS_MKDIR,
  rm: XS_RM,
};

interface Operation {
  readonly kind: keyof typeof types;
  /** Names from the root. */
  readonly names: readonly string[];
  readonly value: string;
}

interface PlainNode {
  value: string;
  readonly children: Map<string, PlainNode>;
}

/** The obvious store. */
class PlainStore {
  readonly root: PlainNode = { value: '', children: new Map() };
  changes = 0;

  apply({ kind, names, value }: Operation): string {
    const node = this.find(names);
    if (kind === 'read') return node?.value ?? 'ENOENT';
    if (kind === 'directory') return node ? [...node.children.keys()].join(' ') : 'ENOENT';
    if (kind === 'rm') return this.remove(names);
    if (kind === 'mkdir' && node) return 'OK';
    this.changes++;
    const made = this.make(names);
    if (kind === 'write') made.value = value;
    return 'OK';
  }

  find(names: readonly string[]): PlainNode | undefined {
    return names.reduce<PlainNode | undefined>((node, name) => node?.children.get(name), this.root);
  }

  make(names: readonly string[]): PlainNode {
    return names.reduce((node, name) => {
      const child = node.children.get(name) ?? { value: '', children: new Map() };
      node.children.set(name, child);
      return child;
    }, this.root);
  }

  remove(names: readonly string[]): string {
    const parent = this.find(names.slice(0, -1));
    if (names.length === 0) return 'EINVAL';
    if (!parent) return 'ENOENT';
    if (parent.children.delete(names.at(-1)!)) this.changes++;
    return 'OK';
  }
}

interface Model {
  readonly plain: PlainStore;
  /** Each client's open transaction: what it did, what it was answered, and how many changes there were at its start. */
  readonly open: ({ log: [Operation, string][]; changesAtStart: number } | undefined)[];
}

interface Real {
  readonly store: XenStore;
  readonly connections: readonly Connection[];
  readonly txIds: number[];
}

function ask(real: Real, client: number, type: number, txId: number, text: string): string {
  const request = { type, reqId: 1, txId, payload: bytesOf(text) };
  const { reply } = real.store.handle(real.connections[client]!, request);
  return textOf(reply.payload).replaceAll('\0', ' ').trim();
}

const pathOf = (names: readonly string[]) => `/${names.join('/')}`;

const perform = (real: Real, client: number, txId: number, { kind, names, value }: Operation) =>
  ask(real, client, types[kind], txId, `${pathOf(names)}\0${kind === 'write' ? value : ''}`);

const expectEqual = <T>(got: T, wanted: T): void => expect(got).toBe(wanted);

class Operate implements fc.Command<Model, Real> {
  readonly #client: number;
  readonly #operation: Operation;

  constructor(client: number, operation: Operation) {
    this.#client = client;
    this.#operation = operation;
  }

  check = () => true;

  run(model: Model, real: Real): void {
    const transaction = model.open[this.#client];
    const txId = transaction ? real.txIds[this.#client]! : 0;
    const reply = perform(real, this.#client, txId, this.#operation);
    if (transaction) transaction.log.push([this.#operation, reply]);
    else expectEqual(reply, model.plain.apply(this.#operation));
  }

  toString(): string {
    const { kind, names, value } = this.#operation;
    return `${this.#client} ${kind} ${pathOf(names)}${kind === 'write' ? ` ${value}` : ''}`;
  }
}

class Start implements fc.Command<Model, Real> {
  readonly #client: number;

  constructor(client: number) {
    this.#client = client;
  }

  check = (model: Readonly<Model>) => model.open[this.#client] === undefined;

  run(model: Model, real: Real): void {
    real.txIds[this.#client] = Number(ask(real, this.#client, XS_TRANSACTION_START, 0, '\0'));
    model.open[this.#client] = { log: [], changesAtStart: model.plain.changes };
  }

  toString = () => `${this.#client} starts`;
}

class End implements fc.Command<Model, Real> {
  readonly #client: number;
  readonly #verdict: 'T' | 'F';

  constructor(client: number, verdict: 'T' | 'F') {
    this.#client = client;
    this.#verdict = verdict;
  }

  check = (model: Readonly<Model>) => model.open[this.#client] !== undefined;

  run(model: Model, real: Real): void {
    const { log, changesAtStart } = model.open[this.#client]!;
    model.open[this.#client] = undefined;
    const txId = real.txIds[this.#client]!;
    const reply = ask(real, this.#client, XS_TRANSACTION_END, txId, `${this.#verdict}\0`);
    if (reply === 'EAGAIN') {
      expectEqual(this.#verdict, 'T');
      // Somebody else must have changed something.
      expectEqual(model.plain.changes > changesAtStart, true);
    } else {
      expectEqual(reply, 'OK');
      if (this.#verdict === 'F') return;
      for (const [operation, seen] of log) expectEqual(seen, model.plain.apply(operation));
    }
    expectSame(model.plain, real);
  }

  toString = () => `${this.#client} ${this.#verdict === 'T' ? 'commits' : 'aborts'}`;
}

/** The whole store, by reading it. */
function expectSame(plain: PlainStore, real: Real): void {
  const pending: string[][] = [[]];
  let nodes = 0;
  for (let names = pending.pop(); names; names = pending.pop()) {
    nodes++;
    const node = plain.find(names)!;
    for (const kind of ['read', 'directory'] as const) {
      const expected = plain.apply({ kind, names, value: '' });
      expect(perform(real, 0, 0, { kind, names, value: '' }), pathOf(names)).toBe(expected);
    }
    for (const name of node.children.keys()) pending.push([...names, name]);
  }
  // No more than that, but for the two special nodes.
  expect(real.store.counts.nodes).toBe(nodes + 2);
}

const client = fc.nat(CLIENTS - 1);
const operation: fc.Arbitrary<Operation> = fc.record({
  kind: fc.constantFrom('read', 'directory', 'write', 'write', 'mkdir', 'rm'),
  names: fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 4 }),
  value: fc.constantFrom('', '1', '2'),
});

test('the store and its transactions behave as the obvious store', () => {
  const commands = fc.commands(
    [
      fc.tuple(client, operation).map(([who, what]) => new Operate(who, what)),
      fc.tuple(client, operation).map(([who, what]) => new Operate(who, what)),
      client.map((who) => new Start(who)),
      fc
        .tuple(client, fc.constantFrom('T', 'T', 'F'))
        .map(([who, verdict]) => new End(who, verdict)),
    ],
    { maxCommands: 200 },
  );
  fc.assert(
    fc.property(commands, (story) => {
      const store = new XenStore();
      const connections = Array.from({ length: CLIENTS }, () => store.connect(0));
      const plain = new PlainStore();
      plain.make(['tool', 'xenstored']);
      fc.modelRun(
        () => ({
          model: { plain, open: Array.from({ length: CLIENTS }, () => undefined) },
          real: { store, connections, txIds: [] },
        }),
        story,
      );
      for (const connection of connections) store.disconnect(connection);
      expect(store.counts).toMatchObject({ watches: 0, transactions: 0, connections: 0 });
    }),
    { numRuns: 300 },
  );
});
