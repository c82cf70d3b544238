/** A driver domain's end of a device: /local/domain/DRIVER/backend/TYPE/GUEST/ID. */
import type { XenStoreClient } from '../client/client.stream.ts';
import { readOtherEnd, XenbusDevice } from './device.stream.ts';
import { backendTransitions } from './state.ts';

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

  /** Opens `backend/TYPE/GUEST/ID` in the client's home. Throws XenbusKeyError if `frontend` or `frontend-id` is missing. */
  static async open(client: XenStoreClient, path: string): Promise<XenbusBackend> {
    return new XenbusBackend(client, path, await readOtherEnd(client, path, 'frontend'));
  }

  /** Whether to wait for the frontend to come back once it is Closed; if not, the device is being unplugged. */
  async isOnline(): Promise<boolean> {
    return (await this.readOwn(onlineKey)).online;
  }
}
