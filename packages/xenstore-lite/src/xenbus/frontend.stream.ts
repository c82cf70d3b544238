/** A guest's end of a device: /local/domain/GUEST/device/TYPE/ID. */
import type { XenStoreClient } from '../client/client.stream.ts';
import { readOtherEnd, XenbusDevice } from './device.stream.ts';
import { frontendTransitions } from './state.ts';

export class XenbusFrontend extends XenbusDevice {
  protected override readonly transitions = frontendTransitions;

  /** Opens `device/TYPE/ID` in the client's home. Throws XenbusKeyError if `backend` or `backend-id` is missing. */
  static async open(client: XenStoreClient, path: string): Promise<XenbusFrontend> {
    return new XenbusFrontend(client, path, await readOtherEnd(client, path, 'backend'));
  }
}
