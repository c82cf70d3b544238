/**
 * Real clients of the operating system (tshark, gcc, Chromium, the genuine headers). Where one is
 * missing, the test says so and is skipped; with `CI` set, as .ci/run does, it fails instead.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';

/** What `requireClient` uses of vitest's test context. */
export interface Skippable {
  skip(note: string): never;
}

/** A user's PATH often lacks the folders where e2fsck lives. */
const systemFolders = ['/usr/sbin', '/sbin'];

/** The absolute path of a command (by name) or a file (by absolute path), if it is there. */
export function findClient(client: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...systemFolders];
  const [candidates, mode] = isAbsolute(client)
    ? [[client], constants.R_OK]
    : [folders.map((folder) => join(folder, client)), constants.X_OK];
  return candidates.find((path) => {
    try {
      accessSync(path, mode);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * The absolute path of `client`; a test that cannot do without it starts with this line:
 * `const tshark = requireClient(context, 'tshark');`
 */
export function requireClient(context: Skippable, client: string): string {
  const path = findClient(client);
  if (path !== undefined) return path;
  const note = `${client} is not installed (Debian packages: .ci/debian-packages)`;
  if (process.env['CI']) throw new Error(note);
  console.warn(`skipped: ${note}`); // vitest's default reporter does not show a skip's note
  return context.skip(note);
}
