/**
 * A file that appears under its name when it is complete, and not before: it is written beside its place under a
 * temporary name, and renamed at the end. Writing is synchronous, so that a run with a seed stays a function of it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { failure, fileError, usageError } from './errors.node.ts';

/** Files that are neither committed nor discarded. */
const unfinished = new Set<OutputFile>();

/** Discards what is not complete; for the end of a run, however it comes. */
export function discardUnfinished(): void {
  for (const file of unfinished) file.discard();
}

/** A file that is being written. */
export class OutputFile {
  /** As the user named it. */
  readonly path: string;
  readonly #target: string;
  readonly #temporary: string;
  readonly #fd: number;
  #writtenBytes = 0;

  /** Begins a file. Throws CliError if it cannot be written, or would replace something that is not a file. */
  constructor(name: string) {
    this.path = name;
    try {
      this.#target = targetOf(name);
      const [folder, base] = [path.dirname(this.#target), path.basename(this.#target)];
      this.#temporary = path.join(folder, `.${base}.${process.pid}.partial`);
      this.#fd = fs.openSync(this.#temporary, 'wx+');
    } catch (error) {
      throw fileError(name, error);
    }
    unfinished.add(this);
  }

  /** Writes at the end. */
  append(bytes: Uint8Array): void {
    this.write(this.#writtenBytes, [bytes]);
    this.#writtenBytes += bytes.length;
  }

  /** Writes the views, one after another, from `offsetBytes` on. */
  write(offsetBytes: number, views: readonly Uint8Array[]): void {
    let at = offsetBytes;
    try {
      for (const view of views) {
        for (let done = 0; done < view.length;) {
          done += fs.writeSync(this.#fd, view, done, view.length - done, at + done);
        }
        at += view.length;
      }
    } catch (error) {
      throw fileError(this.path, error);
    }
  }

  /** Reads back what was written. */
  *chunks(): Generator<Uint8Array> {
    yield* readChunks(this.#fd, this.path);
  }

  /** The file is complete: puts it in its place. */
  commit(): void {
    try {
      fs.closeSync(this.#fd);
      fs.renameSync(this.#temporary, this.#target);
    } catch (error) {
      throw fileError(this.path, error);
    }
    unfinished.delete(this);
  }

  /** Leaves nothing behind. */
  discard(): void {
    if (!unfinished.delete(this)) return;
    fs.rmSync(this.#temporary, { force: true });
  }
}

/** The bytes of an open file from its beginning, piece by piece; each is valid until the next. */
export function* readChunks(fd: number, name: string): Generator<Uint8Array> {
  const buffer = new Uint8Array(1 << 18);
  for (let at = 0; ;) {
    let count: number;
    try {
      count = fs.readSync(fd, buffer, 0, buffer.length, at);
    } catch (error) {
      throw fileError(name, error);
    }
    if (count === 0) return;
    at += count;
    yield buffer.subarray(0, count);
  }
}

/** The file that `name` stands for, symbolic links followed. */
function targetOf(name: string): string {
  let target: string;
  try {
    target = fs.realpathSync(name);
  } catch {
    // It is not there yet; its folder must be.
    return path.join(fs.realpathSync(path.dirname(name)), path.basename(name));
  }
  const kind = fs.statSync(name);
  if (kind.isDirectory()) throw failure(`${name}: is a directory`);
  if (!kind.isFile()) throw failure(`${name}: is not a regular file`);
  fs.accessSync(target, fs.constants.W_OK);
  return target;
}

/** Throws a usage error if two of the named files are one, by name, by symbolic or by hard link. */
export function assertDistinct(names: Readonly<Record<string, string | undefined>>): void {
  const seen = new Map<string, string>();
  for (const [option, name] of Object.entries(names)) {
    if (name === undefined) continue;
    const identity = identityOf(name);
    const other = seen.get(identity);
    if (other !== undefined) throw usageError(`${other} and ${option} are the same file: ${name}`);
    seen.set(identity, option);
  }
}

function identityOf(name: string): string {
  try {
    const { dev, ino } = fs.statSync(name, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    try {
      return path.join(fs.realpathSync(path.dirname(name)), path.basename(name));
    } catch {
      return path.resolve(name);
    }
  }
}
