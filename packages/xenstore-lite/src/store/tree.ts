/** The nodes: one flat table from path to immutable node. Nothing here costs more when the store is bigger. */
import { Children } from './children.ts';
import { isSpecial, ROOT } from './path.ts';
import { DOMID_ANY, OWNED_BY_DOM0, PERM_READ } from './permissions.ts';
import type { Permissions } from './permissions.ts';

/** What a writer states of a node. */
export interface NodeContent {
  readonly value: Uint8Array;
  readonly permissions: Permissions;
  readonly children: Children;
  /** Where this node's name stands among its parent's children. */
  readonly position: number;
}

/** A version of a node; never changed, always replaced. Two versions are the same exactly if they are the same object. */
export interface StoreNode extends NodeContent {
  /** Counts all changes of the store; DIRECTORY_PART shows it, so that a reader notices a change between two parts. */
  readonly generation: number;
}

/** The store as somebody sees it: the tree itself, or a transaction's view of it. */
export interface View {
  get(path: string): StoreNode | undefined;
  put(path: string, content: NodeContent): void;
  delete(path: string): void;
  /**
   * Tells the watchers. `exact`: only watches on this very node (it went together with one above it). `before`: the
   * node's permissions before the change, if they changed: who loses the right to read is still told so.
   */
  changed(path: string, options?: { exact?: boolean; before?: Permissions }): void;
}

const EMPTY = new Uint8Array(0);

/** A node's content when it has none: no value, no children. */
export const emptyNode = (permissions: Permissions, position: number): NodeContent => ({
  value: EMPTY,
  permissions,
  children: Children.none,
  position,
});

type ChangeListener = (path: string, options: { exact?: boolean; before?: Permissions }) => void;

export class Tree implements View {
  readonly #nodes = new Map<string, StoreNode>();
  /** For each domain but 0, the nodes whose permissions name it: what has to be visited when it dies. */
  readonly #named = new Map<number, Set<string>>();
  readonly #onChange: ChangeListener;
  #generation = 0;

  constructor(onChange: ChangeListener) {
    this.#onChange = onChange;
    const tool = Children.none.append('tool');
    const xenstored = Children.none.append('xenstored');
    this.put(ROOT, { ...emptyNode(OWNED_BY_DOM0, 0), children: tool });
    this.put('/tool', { ...emptyNode(OWNED_BY_DOM0, 0), children: xenstored });
    this.put('/tool/xenstored', emptyNode(OWNED_BY_DOM0, 0));
    this.put('@introduceDomain', emptyNode(OWNED_BY_DOM0, 0));
    this.put(
      '@releaseDomain',
      emptyNode([...OWNED_BY_DOM0, { domid: DOMID_ANY, access: PERM_READ, ignored: false }], 0),
    );
  }

  /** How many nodes there are, special ones included. */
  get size(): number {
    return this.#nodes.size;
  }

  get(path: string): StoreNode | undefined {
    return this.#nodes.get(path);
  }

  put(path: string, content: NodeContent): void {
    const old = this.#nodes.get(path)?.permissions;
    if (old !== content.permissions && !isSpecial(path)) {
      this.#unname(path, old);
      for (const { domid } of content.permissions) if (domid !== 0) this.#nameSet(domid).add(path);
    }
    const { value, permissions, children, position } = content;
    const generation = ++this.#generation;
    this.#nodes.set(path, { value, permissions, children, position, generation });
  }

  delete(path: string): void {
    this.#unname(path, this.#nodes.get(path)?.permissions);
    this.#nodes.delete(path);
  }

  changed(path: string, options: { exact?: boolean; before?: Permissions } = {}): void {
    this.#onChange(path, options);
  }

  /** The paths of all nodes whose permissions name a domain (not 0), a copy. */
  pathsNaming(domid: number): string[] {
    return [...(this.#named.get(domid) ?? [])];
  }

  #nameSet(domid: number): Set<string> {
    let paths = this.#named.get(domid);
    if (!paths) this.#named.set(domid, (paths = new Set()));
    return paths;
  }

  #unname(path: string, permissions: Permissions | undefined): void {
    for (const { domid } of permissions ?? []) {
      const paths = this.#named.get(domid);
      if (paths?.delete(path) && paths.size === 0) this.#named.delete(domid);
    }
  }
}
