/** How a run ends when something is wrong: one line on stderr, and an exit code that scripts can rely on. */
import { BlkfrontError, DiskError } from '@ringside/blkif';
import { CaptureError, NetfrontError } from '@ringside/netif';
import { JobError } from '../workload/job-error.ts';

/** Exit codes. Interrupted runs end with 128 plus the number of the signal, as shells have it. */
export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** An error with its exit code. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The command line makes no sense. */
export const usageError = (message: string): CliError => new CliError(message, EXIT.usage);

/** It makes sense, and could not be done. */
export const failure = (message: string): CliError => new CliError(message, EXIT.failed);

/** What users cause, and understand without a stack trace. */
const expected = [BlkfrontError, CaptureError, DiskError, NetfrontError];

/** The exit code and the one line for anything that was thrown. */
export function explain(error: unknown): { readonly line: string; readonly exitCode: number } {
  if (!(error instanceof Error)) return { line: String(error), exitCode: EXIT.failed };
  const line = error.message.replace(/\s*\n\s*/g, ' ');
  if (error instanceof CliError) return { line, exitCode: error.exitCode };
  if (error instanceof JobError) return { line, exitCode: EXIT.usage };
  const isExpected = expected.some((type) => error instanceof type);
  return { line: isExpected ? line : `${error.name}: ${line}`, exitCode: EXIT.failed };
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  ENOTDIR: 'a part of the path is not a directory',
  EISDIR: 'is a directory',
  EACCES: 'permission denied',
  EPERM: 'not permitted',
  EROFS: 'is on a read-only file system',
  ENOSPC: 'no space left on the device',
  EFBIG: 'is too large for the file system',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  EMFILE: 'too many open files',
  ERR_FS_FILE_TOO_LARGE: 'is too large to be read at once',
  ERR_STRING_TOO_LONG: 'is too large to be read at once',
};

/** Node's errors name the system call and repeat the path; a user wants the path and the reason. */
export function fileError(path: string, error: unknown): CliError {
  if (error instanceof CliError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  return failure(`${path}: ${(code && REASONS[code]) ?? code ?? String(error)}`);
}
