/** Waiting for something in the store. */
import type { XenStoreClient } from '@ringside/xenstore-lite';
import { concatMap, filter, firstValueFrom } from 'rxjs';

/** Resolves when `holds` does, asked now and whenever something at or below `path` changed. */
export async function watchUntil(
  store: XenStoreClient,
  path: string,
  holds: () => Promise<boolean>,
): Promise<void> {
  await firstValueFrom(
    store.watch$(path).pipe(
      concatMap(() => holds()),
      filter((yes) => yes),
    ),
  );
}
