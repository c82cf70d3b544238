/** Names of nodes: absolute, relative to a domain's home, and special (`@releaseDomain`). docs/misc/xenstore.txt, "Paths". */
import { XENSTORE_REL_PATH_MAX } from '../wire/abi.ts';

/** The node every other node is below. */
export const ROOT = '/';

/** Special nodes carry permissions and watches, but no value and no children. */
export const isSpecial = (path: string): boolean => path.startsWith('@');

/** The home directory of a domain, and what its relative paths are relative to. */
export const homeOf = (domid: number): string => `/local/domain/${domid}`;

/** The path one level up; the root's parent is the root, and so is a special node's. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? ROOT : path.slice(0, slash);
}

/** The last component. */
export const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** The path of a child. */
export const childOf = (path: string, name: string): string =>
  path === ROOT ? `/${name}` : `${path}/${name}`;

/** How many components `path` lies below `ancestor` (0: the same node), which must be at or above it. */
export function depthBelow(path: string, ancestor: string): number {
  if (path === ancestor) return 0;
  let depth = 0;
  for (let i = ancestor === ROOT ? 0 : ancestor.length; i < path.length; i++) {
    if (path[i] === '/') depth++;
  }
  return depth;
}

/** A relative path made absolute; absolute and special ones are returned as they are. */
export const absolutePath = (path: string, home: string): string =>
  path.startsWith('/') || isSpecial(path) ? path : `${home}/${path}`;

const LEGAL = /^[-/_@A-Za-z0-9]+$/;
const HOME_PREFIX = /^\/local\/domain\/\d{1,5}\//;

/** Whether an absolute path may name a node. */
export const isValidNodePath = (path: string): boolean =>
  path.startsWith('/') &&
  LEGAL.test(path) &&
  !path.includes('//') &&
  (path === ROOT || !path.endsWith('/'));

/** Whether a path is too long for an unprivileged domain: XENSTORE_REL_PATH_MAX bytes without the home of a domain. */
export const isTooLong = (path: string): boolean =>
  path.length - (HOME_PREFIX.exec(path)?.[0].length ?? 0) > XENSTORE_REL_PATH_MAX;
