/** The store's rules as tables: who, in which transaction, does what, and gets what. */
import { describe, expect, test } from 'vitest';
import {
  XS_DIRECTORY,
  XS_ERROR,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_INTRODUCE,
  XS_IS_DOMAIN_INTRODUCED,
  XS_MKDIR,
  XS_READ,
  XS_RELEASE,
  XS_RESET_WATCHES,
  XS_RM,
  XS_SET_PERMS,
  XS_TRANSACTION_END,
  XS_TRANSACTION_START,
  XS_UNWATCH,
  XS_WATCH,
  XS_WRITE,
} from '../wire/abi.ts';
import { bytesOf, textOf } from '../wire/text.ts';
import type { Connection } from './connection.ts';
import { XenStore } from './xenstore.ts';

const types = {
  directory: XS_DIRECTORY,
  read: XS_READ,
  getPerms: XS_GET_PERMS,
  watch: XS_WATCH,
  unwatch: XS_UNWATCH,
  start: XS_TRANSACTION_START,
  end: XS_TRANSACTION_END,
  introduce: XS_INTRODUCE,
  release: XS_RELEASE,
  domainPath: XS_GET_DOMAIN_PATH,
  write: XS_WRITE,
  mkdir: XS_MKDIR,
  rm: XS_RM,
  setPerms: XS_SET_PERMS,
  isIntroduced: XS_IS_DOMAIN_INTRODUCED,
  resetWatches: XS_RESET_WATCHES,
};

/** `0`: domain 0, its second connection is `0'`; a number behind a slash is the transaction. */
type Who = `${number}${'' | "'"}${'' | `/${number}`}`;
/** Who, what with which payload, the reply, and events as `who:path,token`. */
type Row = [
  who: Who,
  what: keyof typeof types,
  payload: string,
  reply: string,
  ...events: string[],
];

/** Runs rows on a fresh store; `payload` and replies are written with a space for each NUL between strings. */
function run(rows: readonly Row[]): void {
  const store = new XenStore();
  const connections = new Map<string, Connection>();
  const connectionOf = (who: string) => {
    let connection = connections.get(who);
    if (!connection) connections.set(who, (connection = store.connect(Number.parseInt(who))));
    return connection;
  };
  const nameOf = (wanted: Connection) =>
    [...connections].find(([, connection]) => connection === wanted)![0];
  for (const [i, [who, what, text, reply, ...events]] of rows.entries()) {
    const [name, txId = '0'] = who.split('/');
    // The value of a WRITE has no NUL behind it.
    const payload = bytesOf(text.replaceAll(' ', '\0') + (what === 'write' ? '' : '\0'));
    const request = { type: types[what], reqId: i, txId: Number(txId), payload };
    const handled = store.handle(connectionOf(name!), request);
    const got = textOf(handled.reply.payload).replaceAll('\0', ' ').trim();
    const told = handled.events.map(
      (event) => `${nameOf(event.connection)}:${event.path},${event.token}`,
    );
    expect([who, what, text, got, ...told], `row ${i}`).toEqual([
      who,
      what,
      text,
      reply,
      ...events,
    ]);
    expect(handled.reply.reqId).toBe(i);
    expect(handled.reply.type).toBe(/^E[A-Z0-9]+$/.test(reply) ? XS_ERROR : types[what]);
  }
}

const guest5: Row[] = [
  ['0', 'introduce', '5 1 3', 'OK'],
  ['0', 'introduce', '6 1 3', 'OK'],
  ['0', 'mkdir', '/local/domain/5', 'OK'],
  ['0', 'setPerms', '/local/domain/5 n5', 'OK'],
  ['0', 'mkdir', '/local/domain/6', 'OK'],
  ['0', 'setPerms', '/local/domain/6 n6', 'OK'],
];

const scenarios: Record<string, Record<string, Row[]>> = {
  'a tree': {
    'begins with /tool/xenstored': [
      ['0', 'directory', '/', 'tool'],
      ['0', 'directory', '/tool', 'xenstored'],
      ['0', 'getPerms', '/', 'n0'],
    ],
    'gets its missing directories with a write': [
      ['0', 'write', '/a/b/c v', 'OK'],
      ['0', 'read', '/a/b', ''],
      ['0', 'directory', '/a/b', 'c'],
    ],
    'lists children in order of creation': [
      ['0', 'write', '/d/z 1', 'OK'],
      ['0', 'write', '/d/a 1', 'OK'],
      ['0', 'write', '/d/m 1', 'OK'],
      ['0', 'write', '/d/z 2', 'OK'],
      ['0', 'rm', '/d/a', 'OK'],
      ['0', 'mkdir', '/d/a', 'OK'],
      ['0', 'directory', '/d', 'z m a'],
    ],
    'forgets what was below a removed node': [
      ['0', 'write', '/a/b/c v', 'OK'],
      ['0', 'rm', '/a', 'OK'],
      ['0', 'mkdir', '/a', 'OK'],
      ['0', 'directory', '/a', ''],
      ['0', 'read', '/a/b/c', 'ENOENT'],
    ],
    'keeps its root, and lets a missing leaf be removed but not a missing directory': [
      ['0', 'rm', '/', 'EINVAL'],
      ['0', 'rm', '/x', 'OK'],
      ['0', 'rm', '/x/y', 'ENOENT'],
    ],
    'has names of few characters': [
      ['0', 'write', '/a//b v', 'EINVAL'],
      ['0', 'write', '/a/ v', 'EINVAL'],
      ['0', 'write', '/a.b v', 'EINVAL'],
      ['0', 'write', '/a-b_c@D9 v', 'OK'],
      ['0', 'read', '@releaseDomain', 'EINVAL'],
    ],
  },
  'a guest': {
    'finds its home by relative paths': [
      ...guest5,
      ['5', 'write', 'data/x v', 'OK'],
      ['0', 'read', '/local/domain/5/data/x', 'v'],
      ['5', 'domainPath', '5', '/local/domain/5'],
    ],
    'learns nothing of what it may not read': [
      ...guest5,
      ['5', 'read', '/tool', 'EACCES'],
      ['5', 'read', '/nothing', 'EACCES'],
      ['5', 'read', 'nothing', 'ENOENT'],
      ['5', 'read', '/local/domain/6/x', 'EACCES'],
    ],
    'may share, but not give away': [
      ...guest5,
      ['5', 'write', 'shared v', 'OK'],
      ['5', 'setPerms', 'shared n5 r6', 'OK'],
      ['6', 'read', '/local/domain/5/shared', 'v'],
      ['6', 'write', '/local/domain/5/shared w', 'EACCES'],
      ['5', 'setPerms', 'shared n6', 'EPERM'],
      ['6', 'setPerms', '/local/domain/5/shared n6', 'EACCES'],
    ],
    'owns what it creates where another lets it': [
      ...guest5,
      ['5', 'mkdir', 'in', 'OK'],
      ['5', 'setPerms', 'in n5 w6', 'OK'],
      ['6', 'write', '/local/domain/5/in/a/b v', 'OK'],
      ['0', 'getPerms', '/local/domain/5/in/a/b', 'n6 w6'],
    ],
    'does not rule over domains': [
      ...guest5,
      ['5', 'introduce', '7 1 3', 'EACCES'],
      ['5', 'release', '6', 'EACCES'],
      ['5', 'isIntroduced', '5', 'EACCES'],
    ],
    'takes its nodes and its rights with it': [
      ...guest5,
      ['0', 'write', '/x v', 'OK'],
      ['0', 'setPerms', '/x n0 r5 r6', 'OK'],
      ['0', 'watch', '@releaseDomain r', 'OK', '0:@releaseDomain,r'],
      ['0', 'watch', '/local w', 'OK', '0:/local,w'],
      ['0', 'release', '5', 'OK', '0:/local/domain/5,w', '0:@releaseDomain,r'],
      ['0', 'directory', '/local/domain', '6'],
      ['0', 'getPerms', '/x', 'n0 r6'],
      ['0', 'isIntroduced', '5', 'F'],
      ['0', 'release', '5', 'ENOENT'],
    ],
  },
  'a watch': {
    'fires at once, then for what changes at or below its path': [
      ['0', 'watch', '/w t', 'OK', '0:/w,t'],
      ['0', 'write', '/w/a v', 'OK', '0:/w/a,t'],
      ['0', 'write', '/wx v', 'OK'],
      ['0', 'mkdir', '/w/a', 'OK'],
      ['0', 'rm', '/w/none', 'OK'],
      ['0', 'rm', '/w', 'OK', '0:/w,t'],
    ],
    'is told of a removal above it, if its node existed, children first': [
      ['0', 'write', '/a/b/c v', 'OK'],
      ['0', 'watch', '/a/b/c deep', 'OK', '0:/a/b/c,deep'],
      ['0', 'watch', '/a/b/none x', 'OK', '0:/a/b/none,x'],
      ['0', 'watch', '/a/b mid', 'OK', '0:/a/b,mid'],
      ['0', 'rm', '/a', 'OK', '0:/a/b/c,deep', '0:/a/b,mid'],
    ],
    'speaks as it was spoken to': [
      ...guest5,
      ['5', 'watch', 'x rel', 'OK', '5:x,rel'],
      ['5', 'watch', '/local/domain/5/x rel', 'EEXIST'],
      ['5', 'watch', '/local/domain/5/x abs', 'OK', '5:/local/domain/5/x,abs'],
      ['5', 'write', 'x v', 'OK', '5:x,rel', '5:/local/domain/5/x,abs'],
      ['5', 'unwatch', '/local/domain/5/x rel', 'OK'],
      ['5', 'write', 'x v', 'OK', '5:/local/domain/5/x,abs'],
    ],
    'comes in the order of connections, then of registration': [
      ["0'", 'watch', '/ b', 'OK', "0':/,b"],
      ['0', 'watch', '/ c', 'OK', '0:/,c'],
      ["0'", 'watch', '/x a', 'OK', "0':/x,a"],
      ['0', 'write', '/x v', 'OK', "0':/x,b", "0':/x,a", '0:/x,c'],
    ],
    'says nothing twice in one request': [
      ['0', 'watch', '/a t', 'OK', '0:/a,t'],
      ['0', 'watch', '/a/b t', 'OK', '0:/a/b,t'],
      ['0', 'write', '/a/b v', 'OK', '0:/a/b,t'],
    ],
    'with a depth ends there': [
      ['0', 'watch', '/d t 1', 'OK', '0:/d,t'],
      ['0', 'write', '/d/a/b v', 'OK'],
      ['0', 'write', '/d/a v', 'OK', '0:/d/a,t'],
    ],
    'tells a guest only what it may read, also when it loses that right': [
      ...guest5,
      ['5', 'watch', '/local/domain/6 spy', 'OK', '5:/local/domain/6,spy'],
      ['6', 'write', 'secret v', 'OK'],
      ['6', 'setPerms', 'secret n6 r5', 'OK', '5:/local/domain/6/secret,spy'],
      ['6', 'setPerms', 'secret n6', 'OK', '5:/local/domain/6/secret,spy'],
      ['6', 'write', 'secret v', 'OK'],
    ],
    'of domains names the domain to those who ask with a depth': [
      ['0', 'watch', '@introduceDomain all', 'OK', '0:@introduceDomain,all'],
      ['0', 'watch', '@introduceDomain each 1', 'OK', '0:@introduceDomain,each'],
      ['0', 'introduce', '9 1 3', 'OK', '0:@introduceDomain,all', '0:@introduceDomain/9,each'],
      ['0', 'introduce', '9 1 3', 'OK'],
    ],
  },
  'a transaction': {
    'sees its own writes, and shows them at the end, parents before children': [
      ["0'", 'watch', '/t w', 'OK', "0':/t,w"],
      ['0', 'start', '', '1'],
      ['0/1', 'write', '/t v', 'OK'],
      ['0/1', 'write', '/t/a/b v', 'OK'],
      ['0/1', 'directory', '/t', 'a'],
      ["0'", 'read', '/t', 'ENOENT'],
      ['0/1', 'end', 'T', 'OK', "0':/t,w", "0':/t/a/b,w"],
      ["0'", 'directory', '/t', 'a'],
    ],
    'leaves nothing behind when it is aborted': [
      ["0'", 'watch', '/ w', 'OK', "0':/,w"],
      ['0', 'start', '', '1'],
      ['0/1', 'write', '/a v', 'OK'],
      ['0/1', 'rm', '/tool', 'OK'],
      ['0/1', 'end', 'F', 'OK'],
      ['0', 'directory', '/', 'tool'],
    ],
    'is no snapshot: it copies at first access': [
      ['0', 'write', '/a 1', 'OK'],
      ['0', 'start', '', '1'],
      ["0'", 'write', '/a 2', 'OK'],
      ['0/1', 'read', '/a', '2'],
      ["0'", 'write', '/b 1', 'OK'],
      ['0/1', 'end', 'T', 'OK'],
    ],
    'conflicts with a change of what it read, even if the value is back': [
      ['0', 'write', '/a 1', 'OK'],
      ['0', 'start', '', '1'],
      ['0/1', 'read', '/a', '1'],
      ["0'", 'write', '/a 1', 'OK'],
      ['0/1', 'end', 'T', 'EAGAIN'],
      ['0/1', 'read', '/a', 'ENOENT'],
    ],
    'conflicts with a sibling created beside the one it creates': [
      ['0', 'start', '', '1'],
      ["0'", 'start', '', '1'],
      ['0/1', 'write', '/a 1', 'OK'],
      ["0'/1", 'write', '/b 1', 'OK'],
      ['0/1', 'end', 'T', 'OK'],
      ["0'/1", 'end', 'T', 'EAGAIN'],
    ],
    'conflicts with nothing when children keep to themselves': [
      ['0', 'write', '/d/a 1', 'OK'],
      ['0', 'start', '', '1'],
      ['0/1', 'directory', '/d', 'a'],
      ["0'", 'write', '/d/a 2', 'OK'],
      ['0/1', 'write', '/d/b 1', 'OK'],
      ['0/1', 'end', 'T', 'OK'],
    ],
    'tells nothing of what came and went inside it': [
      ["0'", 'watch', '/ w', 'OK', "0':/,w"],
      ['0', 'start', '', '1'],
      ['0/1', 'write', '/a v', 'OK'],
      ['0/1', 'rm', '/a', 'OK'],
      ['0/1', 'end', 'T', 'OK'],
    ],
    'belongs to its connection, and cannot be nested': [
      ['0', 'start', '', '1'],
      ["0'/1", 'read', '/', 'ENOENT'],
      ['0/1', 'start', '', 'EBUSY'],
      ['0/1', 'end', 'X', 'EINVAL'],
      ['0/1', 'end', 'T', 'OK'],
      ['0', 'end', 'T', 'ENOENT'],
    ],
    'ends with RESET_WATCHES, as all watches do': [
      ['0', 'start', '', '1'],
      ['0', 'watch', '/ w', 'OK', '0:/,w'],
      ['0', 'resetWatches', '', 'OK'],
      ['0/1', 'read', '/', 'ENOENT'],
      ['0', 'write', '/a v', 'OK'],
    ],
  },
};

describe.each(Object.entries(scenarios))('%s', (_, cases) => {
  test.each(Object.entries(cases))('%s', (_rule, rows) => run(rows));
});
