/** Finding, creating and removing nodes in a view, with the rights of a caller. No recursion: paths may be 2,000 deep. */
import type { XenStoreErrorCode } from '../wire/errors.ts';
import type { Connection } from './connection.ts';
import {
  absolutePath,
  childOf,
  isSpecial,
  isTooLong,
  isValidNodePath,
  nameOf,
  parentOf,
  ROOT,
} from './path.ts';
import { accessFor, inheritedPermissions } from './permissions.ts';
import { emptyNode } from './tree.ts';
import type { StoreNode, View } from './tree.ts';

/** A path that the caller may use as asked; the node itself may be missing. */
export interface Found {
  readonly path: string;
  readonly node: StoreNode | undefined;
}

/** The absolute form of a path from a client, or undefined if it names no node. */
export function resolvePath(
  client: Connection,
  given: string,
  allowSpecial: boolean,
): string | undefined {
  const path = absolutePath(given, client.home);
  const valid = isSpecial(path) ? allowSpecial : isValidNodePath(path);
  return valid && (client.privileged || !isTooLong(path)) ? path : undefined;
}

/**
 * Looks a node up for a client that wants `access` (PERM_* bits). EINVAL: not a path. EACCES: not allowed; also for a
 * missing node, if the nearest existing node above it is closed to the client, so that it learns nothing.
 */
export function find(
  view: View,
  client: Connection,
  given: string | undefined,
  access: number,
  allowSpecial = false,
): Found | XenStoreErrorCode {
  const path = given === undefined ? undefined : resolvePath(client, given, allowSpecial);
  if (path === undefined) return 'EINVAL';
  const node = view.get(path);
  if (node && (accessFor(client, node.permissions) & access) === access) return { path, node };
  let above = path;
  let nearest: StoreNode | undefined;
  do {
    above = parentOf(above);
    nearest = view.get(above);
  } while (!nearest && above !== ROOT);
  const mayKnow = nearest && (accessFor(client, nearest.permissions) & access) !== 0;
  return !node && mayKnow ? { path, node: undefined } : 'EACCES';
}

/** Creates a missing node, and those missing above it. Each inherits its parent's permissions. */
export function create(view: View, creator: Connection, path: string, value: Uint8Array): void {
  const missing = [path];
  for (let above = parentOf(path); !view.get(above); above = parentOf(above)) missing.push(above);
  for (let next = missing.pop(); next !== undefined; next = missing.pop()) {
    const parentPath = parentOf(next);
    const parent = view.get(parentPath)!;
    const permissions = inheritedPermissions(parent.permissions, creator);
    view.put(parentPath, { ...parent, children: parent.children.append(nameOf(next)) });
    const node = emptyNode(permissions, parent.children.nextPosition);
    view.put(next, next === path ? { ...node, value } : node);
  }
}

/**
 * Removes a node and everything below it, children before parents, each told to its own watchers while its permissions
 * can still be seen. Only a transaction that missed a change outside, and so cannot commit, may see this fail: EINVAL
 * if the node above is gone, EIO if a child that was listed is.
 */
export function remove(view: View, path: string): XenStoreErrorCode | undefined {
  const parentPath = parentOf(path);
  const parent = view.get(parentPath);
  if (!parent) return 'EINVAL';
  const doomed: string[] = [];
  const pending: { path: string; leave: boolean }[] = [{ path, leave: false }];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (next.leave) {
      doomed.push(next.path);
      continue;
    }
    const node = view.get(next.path);
    if (!node) return 'EIO';
    pending.push({ path: next.path, leave: true });
    for (const name of node.children.names().reverse()) {
      pending.push({ path: childOf(next.path, name), leave: false });
    }
  }
  const { position } = view.get(path)!;
  for (const gone of doomed) {
    view.changed(gone, { exact: gone !== path });
    view.delete(gone);
  }
  const children = parent.children.remove(position, nameOf(path));
  if (children === parent.children) return 'EIO';
  view.put(parentPath, { ...parent, children });
  return undefined;
}
