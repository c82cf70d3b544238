/** A driver domain's end of a device: /local/domain/DRIVER/backend/TYPE/GUEST/ID. */
import { combineLatest, distinctUntilChanged, map } from 'rxjs';
import type { Observable } from 'rxjs';
import type { XenStoreClient } from '../client/client.stream.ts';
import { readOtherEnd, XenbusDevice } from './device.stream.ts';
import { backendActions, backendTransitions } from './state.ts';
import type { BackendAction } from './state.ts';

const onlineKey = {
  online: {
    type: 'bool',
    default: false,
    writer: 'toolstack',
    docs: 'Whether the device stays when the frontend closes; 0 means that it is being unplugged.',
  },
} as const;

export class XenbusBackend extends XenbusDevice {
  protected override readonly transitions = backendTransitions;
  /** What to do next, by `backendActions`: now, and whenever a change of either end makes it something else. */
  readonly actions$: Observable<BackendAction> = combineLatest([
    this.state$,
    this.otherEndState$,
  ]).pipe(
    map(([own, frontend]) => backendActions[own][frontend]),
    distinctUntilChanged(),
  );

  /** Opens `backend/TYPE/GUEST/ID` in the client's home. Throws XenbusKeyError if `frontend` or `frontend-id` is missing. */
  static async open(client: XenStoreClient, path: string): Promise<XenbusBackend> {
    return new XenbusBackend(client, path, await readOtherEnd(client, path, 'frontend'));
  }

  /** Whether to wait for the frontend to come back once it is Closed; if not, the device is being unplugged. */
  async isOnline(): Promise<boolean> {
    return (await this.readOwn(onlineKey)).online;
  }
}
