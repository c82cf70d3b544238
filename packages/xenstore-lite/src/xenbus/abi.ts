/** io/xenbus.h: the states of a device's two ends, as the `state` key holds them in decimal. */

/** io/xenbus.h, xenbus_state. */
export const XenbusStateUnknown = 0;
export const XenbusStateInitialising = 1;
/** Waits for the other end, or for hotplug. */
export const XenbusStateInitWait = 2;
/** Waits for the other end to connect. */
export const XenbusStateInitialised = 3;
export const XenbusStateConnected = 4;
/** Ends because of an error or an unplug. */
export const XenbusStateClosing = 5;
export const XenbusStateClosed = 6;
export const XenbusStateReconfiguring = 7;
export const XenbusStateReconfigured = 8;

/** One of them. */
export type XenbusState =
  | typeof XenbusStateUnknown
  | typeof XenbusStateInitialising
  | typeof XenbusStateInitWait
  | typeof XenbusStateInitialised
  | typeof XenbusStateConnected
  | typeof XenbusStateClosing
  | typeof XenbusStateClosed
  | typeof XenbusStateReconfiguring
  | typeof XenbusStateReconfigured;
