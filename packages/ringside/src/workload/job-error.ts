/** A job that cannot be, whatever the devices are like: one line with what was asked and what is allowed. */
export class JobError extends Error {
  override readonly name = 'JobError';
}
