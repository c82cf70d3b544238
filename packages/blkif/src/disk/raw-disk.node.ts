/**
 * A disk in an ordinary file. Data moves between the file and the views it is given, with no buffer in between; the views
 * may lie on shared machine memory.
 */

import * as fs from 'node:fs';
import { assertDiskSize, DiskError, lengthOnDisk, type Disk } from './disk.ts';

/** The part of a machine's scheduler that real asynchronous input and output goes through. */
export interface ExternalScheduler {
  external<T>(start: () => Promise<T>): Promise<T>;
}

export interface RawDiskOptions {
  /** Open the file for reading only. Default: false. */
  readonly readOnly?: boolean;
  /**
   * Given: reads, writes and flushes run on Node's threads, and come back through this scheduler. Without it each call is
   * done when it returns, which is faster for a file that is in the page cache, and waits for a device that is slow.
   */
  readonly scheduler?: ExternalScheduler;
}

/**
 * Open an existing file as a disk.
 * @throws DiskError, one line: no such file, a directory or device, not a multiple of 512 bytes, not permitted.
 */
export function openRawDisk(path: string, options: RawDiskOptions = {}): Disk {
  const readOnly = options.readOnly ?? false;
  let fd: number;
  try {
    // Not O_RDWR on what turns out to be a pipe or a device: that could block, or do something.
    const kind = fs.statSync(path);
    if (kind.isDirectory()) throw new DiskError(`${path}: is a directory, not a disk image`);
    if (!kind.isFile()) throw new DiskError(`${path}: is not a regular file`);
    fd = fs.openSync(path, readOnly ? 'r' : 'r+');
  } catch (error) {
    throw explained(path, 'open', error);
  }
  try {
    const sizeBytes = fs.fstatSync(fd).size;
    assertDiskSize(sizeBytes, path);
    return options.scheduler === undefined
      ? new RawDisk(path, fd, sizeBytes, readOnly)
      : new AsyncRawDisk(path, fd, sizeBytes, readOnly, options.scheduler);
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}

/** What both ways of reaching the file share. */
class RawFile {
  readonly path: string;
  readonly fd: number;
  readonly sizeBytes: number;
  readonly readOnly: boolean;

  constructor(path: string, fd: number, sizeBytes: number, readOnly: boolean) {
    this.path = path;
    this.fd = fd;
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
  }

  close(): void {
    fs.closeSync(this.fd);
  }

  protected assertWritable(): void {
    if (this.readOnly) throw new DiskError(`${this.path}: opened read-only`);
  }
}

type Move = (fd: number, views: readonly Uint8Array[], position: number) => number;

/** One view is the common case, and a vector of one costs half as much again. */
const readInto: Move = (fd, views, position) =>
  views.length === 1
    ? fs.readSync(fd, views[0]!, 0, views[0]!.length, position)
    : fs.readvSync(fd, views, position);

const writeFrom: Move = (fd, views, position) =>
  views.length === 1
    ? fs.writeSync(fd, views[0]!, 0, views[0]!.length, position)
    : fs.writevSync(fd, views, position);

class RawDisk extends RawFile implements Disk {
  read(offsetBytes: number, views: readonly Uint8Array[]): void {
    this.all('read', readInto, offsetBytes, views);
  }

  write(offsetBytes: number, views: readonly Uint8Array[]): void {
    this.assertWritable();
    this.all('write', writeFrom, offsetBytes, views);
  }

  flush(): void {
    try {
      fs.fdatasyncSync(this.fd);
    } catch (error) {
      throw explained(this.path, 'flush', error);
    }
  }

  /** A call may move less than it was asked to, or be interrupted: go on until everything has moved. */
  private all(
    what: 'read' | 'write',
    move: Move,
    offsetBytes: number,
    views: readonly Uint8Array[],
  ): void {
    const lengthBytes = lengthOnDisk(this, offsetBytes, views);
    for (let done = 0; done < lengthBytes;) {
      let moved: number;
      try {
        moved = move(this.fd, done === 0 ? views : remaining(views, done), offsetBytes + done);
      } catch (error) {
        if (isInterrupted(error)) continue;
        throw explained(this.path, what, error);
      }
      if (moved === 0) throw ended(this.path, what, offsetBytes + done);
      done += moved;
    }
  }
}

class AsyncRawDisk extends RawFile implements Disk {
  private readonly scheduler: ExternalScheduler;

  constructor(
    path: string,
    fd: number,
    sizeBytes: number,
    readOnly: boolean,
    scheduler: ExternalScheduler,
  ) {
    super(path, fd, sizeBytes, readOnly);
    this.scheduler = scheduler;
  }

  read(offsetBytes: number, views: readonly Uint8Array[]): Promise<void> {
    return this.all('read', fs.readv, offsetBytes, views);
  }

  write(offsetBytes: number, views: readonly Uint8Array[]): Promise<void> {
    this.assertWritable();
    return this.all('write', fs.writev, offsetBytes, views);
  }

  flush(): Promise<void> {
    return this.scheduler.external(
      () =>
        new Promise((resolve, reject) =>
          fs.fdatasync(this.fd, (error) =>
            error === null ? resolve() : reject(explained(this.path, 'flush', error)),
          ),
        ),
    );
  }

  private all(
    what: 'read' | 'write',
    move: (fd: number, views: readonly Uint8Array[], position: number, done: Moved) => void,
    offsetBytes: number,
    views: readonly Uint8Array[],
  ): Promise<void> {
    const lengthBytes = lengthOnDisk(this, offsetBytes, views);
    const start = () =>
      new Promise<void>((resolve, reject) => {
        const go = (done: number): void => {
          if (done === lengthBytes) return resolve();
          const rest = done === 0 ? views : remaining(views, done);
          move(this.fd, rest, offsetBytes + done, (error, moved) => {
            if (error !== null && isInterrupted(error)) go(done);
            else if (error !== null) reject(explained(this.path, what, error));
            else if (moved === 0) reject(ended(this.path, what, offsetBytes + done));
            else go(done + moved);
          });
        };
        go(0);
      });
    return this.scheduler.external(start);
  }
}

type Moved = (error: NodeJS.ErrnoException | null, movedBytes: number) => void;

/** The views without their first `doneBytes` bytes. */
function remaining(views: readonly Uint8Array[], doneBytes: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = doneBytes;
  for (const view of views) {
    if (skip < view.length) rest.push(view.subarray(skip));
    skip = Math.max(0, skip - view.length);
  }
  return rest;
}

const isInterrupted = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'EINTR';

const ended = (path: string, what: 'read' | 'write', atBytes: number): DiskError =>
  new DiskError(
    what === 'read'
      ? `${path}: ends at byte ${atBytes}; it was longer when it was opened`
      : `${path}: nothing more can be written at byte ${atBytes}`,
  );

const REASONS: Record<string, string> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'is on a read-only file system',
  ENOSPC: 'no space left on the device',
  EIO: 'input/output error of the device',
};

/** Node's errors name the system call and repeat the path; a user wants the path and the reason. */
function explained(path: string, what: string, error: unknown): DiskError {
  if (error instanceof DiskError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  const reason = (code && REASONS[code]) ?? `cannot ${what}: ${code ?? String(error)}`;
  return new DiskError(`${path}: ${reason}`);
}
