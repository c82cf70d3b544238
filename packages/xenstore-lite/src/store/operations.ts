/** What each request does: payload in, payload or error name out. io/xs_wire.h, docs/misc/xenstore.txt. */
import { DOMID_SELF } from '@ringside/gnttab-core/abi';
import {
  XENSTORE_PAYLOAD_MAX,
  XENSTORE_REL_PATH_MAX,
  XS_CONTROL,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RESUME,
  XS_RM,
  XS_SET_PERMS,
  XS_SET_TARGET,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WRITE,
} from '../wire/abi.ts';
import type { XenStoreErrorCode } from '../wire/errors.ts';
import {
  bytesOf,
  leadingInteger,
  nulTerminated,
  onlyString,
  parseDomid,
  stringAndRest,
  stringsIn,
} from '../wire/text.ts';
import type { Connection } from './connection.ts';
import type { Domains } from './domains.ts';
import type { EffectCollector } from './effects.ts';
import { create, find, remove, resolvePath } from './nodes.ts';
import { absolutePath, homeOf, isSpecial, ROOT, parentOf } from './path.ts';
import {
  formatPermission,
  parsePermission,
  PERM_OWNER,
  PERM_READ,
  PERM_WRITE,
} from './permissions.ts';
import type { Permission, Permissions } from './permissions.ts';
import { Transaction } from './transactions.ts';
import type { StoreNode, Tree, View } from './tree.ts';
import type { Watches } from './watches.ts';

/** What operations need of the store besides a view of its nodes. */
export interface StoreState {
  readonly tree: Tree;
  readonly watches: Watches;
  readonly domains: Domains;
  readonly effects: EffectCollector;
  introduceDomain(domid: number): void;
  releaseDomain(domid: number): void;
  /** Forgets a connection's watches and transactions. */
  reset(connection: Connection): void;
}

export interface Call {
  readonly store: StoreState;
  readonly connection: Connection;
  /** The transaction that the request names, or the tree. */
  readonly view: View;
  readonly txId: number;
  readonly payload: Uint8Array;
}

type Outcome = Uint8Array | XenStoreErrorCode;

export interface Operation {
  readonly run: (call: Call) => Outcome;
  /** Only for the control domain. */
  readonly privileged?: true;
  /** Takes no notice of the transaction id. */
  readonly ignoresTxId?: true;
  /** The reply goes before the events of the request; otherwise after them. */
  readonly replyFirst?: true;
}

const OK = bytesOf('OK\0');

/** Runs `answer` on the node that the payload's one string names, if the caller may read it. */
const readingOneNode =
  (answer: (node: StoreNode) => Outcome, allowSpecial = false) =>
  ({ view, connection, payload }: Call): Outcome => {
    const found = find(view, connection, onlyString(payload), PERM_READ, allowSpecial);
    if (typeof found === 'string') return found;
    return found.node ? answer(found.node) : 'ENOENT';
  };

const read = readingOneNode(({ value }) => value);

const directory = readingOneNode(({ children }) =>
  children.listBytes > XENSTORE_PAYLOAD_MAX ? 'E2BIG' : nulTerminated(children.names()),
);

const getPerms = readingOneNode(
  ({ permissions }) => nulTerminated(permissions.map(formatPermission)),
  true,
);

function directoryPart({ view, connection, payload }: Call): Outcome {
  const strings = stringsIn(payload);
  if (strings.length !== 2) return 'EINVAL';
  const found = find(view, connection, strings[0], PERM_READ);
  if (typeof found === 'string') return found;
  if (!found.node) return 'ENOENT';
  const generation = `${found.node.generation}\0`;
  const list = nulTerminated(found.node.children.names());
  const offset = leadingInteger(strings[1]!) >>> 0;
  const room = XENSTORE_PAYLOAD_MAX - generation.length - 1;
  let end = Math.min(list.length, offset + room);
  // Whole names only; an empty one after the last says that the list ends here.
  while (end > offset && list[end - 1] !== 0) end--;
  const atEnd = offset >= list.length || end === list.length;
  const part = new Uint8Array([...bytesOf(generation), ...list.subarray(offset, end)]);
  return atEnd ? new Uint8Array([...part, 0]) : part;
}

function write({ view, connection, payload }: Call): Outcome {
  const [given, rest] = stringAndRest(payload) ?? [];
  const found = find(view, connection, given, PERM_WRITE);
  if (typeof found === 'string') return found;
  const value = rest!.slice();
  if (found.node) view.put(found.path, { ...found.node, value });
  else create(view, connection, found.path, value);
  view.changed(found.path);
  return OK;
}

function mkdir({ view, connection, payload }: Call): Outcome {
  const found = find(view, connection, onlyString(payload), PERM_WRITE);
  if (typeof found === 'string') return found;
  if (found.node) return OK;
  create(view, connection, found.path, new Uint8Array(0));
  view.changed(found.path);
  return OK;
}

function rm({ view, connection, payload }: Call): Outcome {
  const found = find(view, connection, onlyString(payload), PERM_WRITE);
  if (typeof found === 'string') return found;
  const { path, node } = found;
  if (!node) return view.get(parentOf(path)) ? OK : 'ENOENT';
  if (path === ROOT) return 'EINVAL';
  return remove(view, path) ?? OK;
}

function setPerms({ store, view, connection, payload }: Call): Outcome {
  const [given, ...texts] = stringsIn(payload);
  const entries: Permission[] = [];
  for (const text of texts) {
    const entry = parsePermission(text, (domid) => store.domains.exists(domid));
    if (!entry) return 'EINVAL';
    entries.push(entry);
  }
  const [owner, ...others] = entries;
  if (!owner) return 'EINVAL';
  if (owner.ignored) return 'ENOENT';
  const found = find(view, connection, given, PERM_WRITE | PERM_OWNER, true);
  if (typeof found === 'string') return found;
  const { path, node } = found;
  if (!node) return 'ENOENT';
  if (!connection.privileged && owner.domid !== node.permissions[0].domid) return 'EPERM';
  const permissions: Permissions = [owner, ...others];
  view.put(path, { ...node, permissions });
  view.changed(path, { before: node.permissions });
  return OK;
}

function watch({ store, connection, payload }: Call): Outcome {
  const strings = stringsIn(payload);
  const [given, token, depthText] = strings;
  if (given === undefined || token === undefined || strings.length > 3) return 'EINVAL';
  const depth = depthText === undefined ? undefined : leadingInteger(depthText);
  if (depth !== undefined && depth < 0) return 'EINVAL';
  const path = resolvePath(connection, given, true);
  if (path === undefined || (isSpecial(path) && path.length > XENSTORE_REL_PATH_MAX)) {
    return 'EINVAL';
  }
  const relative = path !== given;
  const events = store.watches.add({ connection, path, token, relative, depth });
  if (!events) return 'EEXIST';
  store.effects.tell(events);
  return OK;
}

function unwatch({ store, connection, payload }: Call): Outcome {
  const [given, token, ...more] = stringsIn(payload);
  if (given === undefined || token === undefined || more.length > 0) return 'EINVAL';
  if (resolvePath(connection, given, true) === undefined) return 'EINVAL';
  const path = absolutePath(given, connection.home);
  return store.watches.remove(connection, path, token) ? OK : 'ENOENT';
}

function resetWatches({ store, connection }: Call): Outcome {
  store.reset(connection);
  return OK;
}

function transactionStart({ store, connection, txId }: Call): Outcome {
  if (txId !== 0) return 'EBUSY';
  return nulTerminated([String(connection.addTransaction(new Transaction(store.tree)))]);
}

function transactionEnd({ connection, txId, payload }: Call): Outcome {
  const verdict = onlyString(payload);
  if (verdict !== 'T' && verdict !== 'F') return 'EINVAL';
  const transaction = connection.transactions.get(txId);
  if (!transaction) return 'ENOENT';
  connection.transactions.delete(txId);
  return verdict === 'F' || transaction.commit() ? OK : 'EAGAIN';
}

/** Runs `answer` with the payload's one domain id. */
const withDomid =
  (answer: (domid: number, call: Call) => Outcome) =>
  (call: Call): Outcome => {
    const text = onlyString(call.payload);
    const domid = text === undefined ? undefined : parseDomid(text);
    return domid === undefined ? 'EINVAL' : answer(domid, call);
  };

const getDomainPath = withDomid((domid) => nulTerminated([homeOf(domid)]));

const isDomainIntroduced = withDomid((domid, { store }) =>
  nulTerminated([domid === DOMID_SELF || store.domains.isIntroduced(domid) ? 'T' : 'F']),
);

function introduce({ store, payload }: Call): Outcome {
  const [domidText, , portText] = stringsIn(payload);
  if (domidText === undefined || portText === undefined) return 'EINVAL';
  const domid = parseDomid(domidText);
  if (domid === undefined || leadingInteger(portText) === 0) return 'EINVAL';
  if (!store.domains.exists(domid)) return 'ENOENT';
  store.introduceDomain(domid);
  return OK;
}

const release = withDomid((domid, { store }) => {
  if (domid === 0) return 'EINVAL';
  if (!store.domains.isIntroduced(domid)) return 'ENOENT';
  store.releaseDomain(domid);
  return OK;
});

const resume = withDomid((domid, { store }) => {
  if (domid === 0) return 'EINVAL';
  if (!store.domains.isIntroduced(domid)) return 'ENOENT';
  store.domains.setShutDown(domid, false);
  return OK;
});

function setTarget({ store, payload }: Call): Outcome {
  const [domid, target] = stringsIn(payload).map(parseDomid);
  if (domid === undefined || target === undefined) return 'EINVAL';
  if (!store.domains.isIntroduced(domid) || !store.domains.isIntroduced(target)) return 'ENOENT';
  store.domains.setTarget(domid, target);
  return OK;
}

function control({ payload }: Call): Outcome {
  const [command] = stringsIn(payload);
  return command === 'help' ? nulTerminated(['help']) : 'EINVAL';
}

/** Every request that the store knows, by its type; the others are answered ENOSYS. */
export const operations: ReadonlyMap<number, Operation> = new Map<number, Operation>([
  [XS_CONTROL, { run: control, privileged: true }],
  [XS_DIRECTORY, { run: directory }],
  [XS_READ, { run: read }],
  [XS_GET_PERMS, { run: getPerms }],
  [XS_WATCH, { run: watch, ignoresTxId: true, replyFirst: true }],
  [XS_UNWATCH, { run: unwatch, ignoresTxId: true }],
  [XS_TRANSACTION_START, { run: transactionStart }],
  [XS_TRANSACTION_END, { run: transactionEnd }],
  [XS_INTRODUCE, { run: introduce, privileged: true }],
  [XS_RELEASE, { run: release, privileged: true }],
  [XS_GET_DOMAIN_PATH, { run: getDomainPath }],
  [XS_WRITE, { run: write }],
  [XS_MKDIR, { run: mkdir }],
  [XS_RM, { run: rm }],
  [XS_SET_PERMS, { run: setPerms }],
  [XS_IS_DOMAIN_INTRODUCED, { run: isDomainIntroduced, privileged: true }],
  [XS_RESUME, { run: resume, privileged: true }],
  [XS_SET_TARGET, { run: setTarget, privileged: true }],
  [XS_RESET_WATCHES, { run: resetWatches }],
  [XS_DIRECTORY_PART, { run: directoryPart }],
]);
