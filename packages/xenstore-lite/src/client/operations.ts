/** The requests of a client as methods; the same outside and inside a transaction. */
import {
  XENSTORE_PAYLOAD_MAX,
  XS_DIRECTORY,
  XS_DIRECTORY_PART,
  XS_GET_DOMAIN_PATH,
  XS_GET_PERMS,
  XS_MKDIR,
  XS_READ,
  XS_RM,
  XS_SET_PERMS,
  XS_WRITE,
} from '../wire/abi.ts';
import { bytesOf, nulTerminated, stringAndRest, stringsIn, textOf } from '../wire/text.ts';
import { isXenStoreError, XenStoreError } from './errors.ts';

/** What a request is about, for errors. */
export interface Attempt {
  readonly path: string;
  readonly attempted: string;
}

/** Strings are UTF-8. Paths are absolute, or relative to the home of the client's domain. All reject with XenStoreError. */
export abstract class XenStoreOperations {
  /** Sends a request in this scope and resolves with the payload of its reply. */
  protected abstract request(
    type: number,
    payload: Uint8Array,
    attempt: Attempt,
  ): Promise<Uint8Array>;

  /** The value of a node, as text. */
  async read(path: string): Promise<string> {
    return new TextDecoder().decode(await this.readBytes(path));
  }

  /** The value of a node. */
  readBytes(path: string): Promise<Uint8Array> {
    return this.#onPath(XS_READ, path, 'read');
  }

  /** The value of a node as text, or undefined if there is none (ENOENT). */
  async readIfExists(path: string): Promise<string | undefined> {
    try {
      return await this.read(path);
    } catch (error) {
      if (isXenStoreError(error, 'ENOENT')) return undefined;
      throw error;
    }
  }

  /** Whether a node exists; EACCES if the client may not know. */
  async exists(path: string): Promise<boolean> {
    return (await this.readIfExists(path)) !== undefined;
  }

  /** Sets a node's value; creates it, and what is missing above it. */
  async write(path: string, value: string | Uint8Array): Promise<void> {
    const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    const payload = new Uint8Array([...nulTerminated([path]), ...bytes]);
    await this.#onPath(XS_WRITE, path, 'write', payload);
  }

  /** Creates an empty node, and what is missing above it; one that exists is left alone. */
  async mkdir(path: string): Promise<void> {
    await this.#onPath(XS_MKDIR, path, 'create');
  }

  /** Removes a node and all below it. A missing node is fine, if the one above it exists. */
  async rm(path: string): Promise<void> {
    await this.#onPath(XS_RM, path, 'remove');
  }

  /** The names of a node's children, in order of creation; in parts if there are too many for one reply. */
  async directory(path: string): Promise<string[]> {
    try {
      return stringsIn(await this.#onPath(XS_DIRECTORY, path, 'list'));
    } catch (error) {
      if (!isXenStoreError(error, 'E2BIG')) throw error;
      return this.#directoryInParts(path);
    }
  }

  /** The permissions, as `n0`, `r5`: the owner's first. */
  async getPerms(path: string): Promise<string[]> {
    return stringsIn(await this.#onPath(XS_GET_PERMS, path, 'read the permissions of'));
  }

  /** Replaces the permissions; the first entry names the owner. */
  async setPerms(path: string, permissions: readonly string[]): Promise<void> {
    const payload = nulTerminated([path, ...permissions]);
    await this.#onPath(XS_SET_PERMS, path, 'set the permissions of', payload);
  }

  /** The home directory of a domain. */
  async getDomainPath(domid: number): Promise<string> {
    const payload = nulTerminated([String(domid)]);
    const attempted = 'get the home of domain';
    const reply = await this.request(XS_GET_DOMAIN_PATH, payload, {
      path: String(domid),
      attempted,
    });
    return stringsIn(reply)[0] ?? '';
  }

  async #directoryInParts(path: string): Promise<string[]> {
    let [list, listGeneration] = ['', ''];
    for (;;) {
      const payload = nulTerminated([path, String(list.length)]);
      const reply = await this.#onPath(XS_DIRECTORY_PART, path, 'list', payload);
      const [generation, part] = stringAndRest(reply) ?? ['', bytesOf('')];
      if (list !== '' && generation !== listGeneration) {
        // The directory changed between two parts: begin again.
        list = '';
        continue;
      }
      listGeneration = generation;
      list += textOf(part);
      if (part.length === 0 || list.endsWith('\0\0') || list === '\0') {
        return list.split('\0').filter((name) => name !== '');
      }
    }
  }

  async #onPath(
    type: number,
    path: string,
    attempted: string,
    payload = nulTerminated([path]),
  ): Promise<Uint8Array> {
    if (path.includes('\0')) throw new XenStoreError('EINVAL', path, attempted, 'NUL in path');
    if (payload.length > XENSTORE_PAYLOAD_MAX) {
      const detail = `${payload.length} bytes, allowed are ${XENSTORE_PAYLOAD_MAX}`;
      throw new XenStoreError('E2BIG', path, attempted, detail);
    }
    return this.request(type, payload, { path, attempted });
  }
}
