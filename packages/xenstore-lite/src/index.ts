/**
 * In-process XenStore, its client, and the xenbus handshake. The constants of the headers (XS_READ, XenbusStateConnected)
 * are `@ringside/xenstore-lite/abi`.
 */
export { watchEventMessage, XenStore } from './store/xenstore.ts';
export type { Handled, XenStoreOptions } from './store/xenstore.ts';
export type { Connection } from './store/connection.ts';
export type { Effects } from './store/effects.ts';
export type { WatchEvent } from './store/watches.ts';
export { homeOf } from './store/path.ts';

export { encodeMessage, MessageParser } from './wire/message.ts';
export type { Message, Parsed } from './wire/message.ts';
export type { XenStoreErrorCode } from './wire/errors.ts';
export { InProcessXenStore } from './wire/in-process.ts';
export type { TaskScheduler } from './wire/in-process.ts';
export type { Transport, TransportReceiver } from './wire/transport.ts';

export { XenStoreClient } from './client/client.stream.ts';
export type { XenStoreTransaction } from './client/client.stream.ts';
export type { XenStoreOperations } from './client/operations.ts';
export { isXenStoreError, XenStoreError } from './client/errors.ts';

export {
  backendActions,
  backendTransitions,
  frontendActions,
  frontendTransitions,
  parseXenbusState,
  xenbusStateName,
} from './xenbus/state.ts';
export type { BackendAction, FrontendAction } from './xenbus/state.ts';
export type { XenbusState } from './xenbus/abi.ts';
export { keyTable, readKeys, writeKeys } from './xenbus/keys.ts';
export type { BoolKey, Key, KeyTable, KeyValues, StringKey, UintKey } from './xenbus/keys.ts';
export { XenbusKeyError, XenbusStateError } from './xenbus/errors.ts';
export { XenbusFrontend } from './xenbus/frontend.stream.ts';
export { XenbusBackend } from './xenbus/backend.stream.ts';
export type { OtherEnd, XenbusDevice } from './xenbus/device.stream.ts';
export { backendDevices$, frontendDevices$ } from './xenbus/bus.stream.ts';
export type { DeviceEvent } from './xenbus/bus.stream.ts';
export { devicePermissions, homePermissions, ownedBy, readOnlyFor } from './xenbus/permissions.ts';
export type { HomeNode } from './xenbus/permissions.ts';
export { introduceDomain } from './xenbus/home.ts';
export type { NewDomain } from './xenbus/home.ts';
