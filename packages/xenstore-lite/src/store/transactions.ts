/**
 * A transaction is a view that copies each node at first access: not a snapshot at the start. It conflicts if any node
 * it looked at (also one it found missing) is another version by the time it ends. docs/misc/xenstore.txt, "Transactions".
 */
import type { Permissions } from './permissions.ts';
import type { NodeContent, StoreNode, Tree, View } from './tree.ts';

interface Accessed {
  /** The node in the tree at first access; undefined if it was missing. */
  readonly original: StoreNode | undefined;
  current: StoreNode | undefined;
  modified: boolean;
  /** To be told to watchers at the end. */
  event: { exact: boolean } | undefined;
}

export class Transaction implements View {
  readonly #tree: Tree;
  /** In order of first access, which is the order in which the end tells watchers. */
  readonly #accessed = new Map<string, Accessed>();

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  get(path: string): StoreNode | undefined {
    return this.#access(path).current;
  }

  put(path: string, content: NodeContent): void {
    const entry = this.#access(path);
    entry.current = { ...content, generation: entry.original?.generation ?? 0 };
    entry.modified = true;
  }

  delete(path: string): void {
    const entry = this.#access(path);
    entry.current = undefined;
    entry.modified = true;
  }

  changed(path: string, options: { exact?: boolean; before?: Permissions } = {}): void {
    this.#access(path).event = { exact: options.exact ?? false };
  }

  /** Carries the changes into the tree, if nothing that was looked at has changed there; answers whether it did. */
  commit(): boolean {
    for (const [path, { original }] of this.#accessed) {
      if (this.#tree.get(path) !== original) return false;
    }
    for (const [path, { original, current, modified, event }] of this.#accessed) {
      if (!modified) continue;
      if (current) this.#tree.put(path, current);
      else if (original) this.#tree.delete(path);
      if (!event) continue;
      const before = original && { before: original.permissions };
      this.#tree.changed(path, { ...event, ...before });
    }
    return true;
  }

  #access(path: string): Accessed {
    let entry = this.#accessed.get(path);
    if (!entry) {
      const original = this.#tree.get(path);
      entry = { original, current: original, modified: false, event: undefined };
      this.#accessed.set(path, entry);
    }
    return entry;
  }
}
