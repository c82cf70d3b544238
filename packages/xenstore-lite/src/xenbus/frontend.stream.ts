/** A guest's end of a device: /local/domain/GUEST/device/TYPE/ID. */
import { combineLatest, distinctUntilChanged, map } from 'rxjs';
import type { Observable } from 'rxjs';
import type { XenStoreClient } from '../client/client.stream.ts';
import { readOtherEnd, XenbusDevice } from './device.stream.ts';
import { frontendActions, frontendTransitions } from './state.ts';
import type { FrontendAction } from './state.ts';

export class XenbusFrontend extends XenbusDevice {
  protected override readonly transitions = frontendTransitions;
  /** What to do next, by `frontendActions`: now, and whenever a change of either end makes it something else. */
  readonly actions$: Observable<FrontendAction> = combineLatest([
    this.state$,
    this.otherEndState$,
  ]).pipe(
    map(([own, backend]) => frontendActions[own][backend]),
    distinctUntilChanged(),
  );

  /** Opens `device/TYPE/ID` in the client's home. Throws XenbusKeyError if `backend` or `backend-id` is missing. */
  static async open(client: XenStoreClient, path: string): Promise<XenbusFrontend> {
    return new XenbusFrontend(client, path, await readOtherEnd(client, path, 'backend'));
  }
}
