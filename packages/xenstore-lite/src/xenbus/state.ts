/**
 * The xenbus state machine as tables: what each end does when it is in one state and learns that the other end is in
 * another, and which steps it may take. io/xenbus.h names the states; the two ends' parts are those of Linux's drivers.
 */
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
  XenbusStateReconfigured,
  XenbusStateReconfiguring,
  XenbusStateUnknown,
} from './abi.ts';
import type { XenbusState } from './abi.ts';

const NAMES = [
  'Unknown',
  'Initialising',
  'InitWait',
  'Initialised',
  'Connected',
  'Closing',
  'Closed',
  'Reconfiguring',
  'Reconfigured',
] as const;

/** `Connected`, … */
export const xenbusStateName = (state: XenbusState): string => NAMES[state];

/** What a `state` node says; a missing, empty or senseless one is Unknown (the other end may write anything). */
export function parseXenbusState(text: string | undefined): XenbusState {
  return /^[0-8]$/.test(text ?? '') ? (Number(text) as XenbusState) : XenbusStateUnknown;
}

/**
 * What a frontend does:
 * - `wait`: nothing yet. A frontend that begins anew may find the backend Connected or Closed from the life before: it
 *   will offer again.
 * - `publish`: the backend's offer is there: read it, share the rings, write ring references and event channels, then go
 *   to Initialised (vbd, which waits for the backend's description) or straight to Connected (vif).
 * - `connect`: the backend is connected: read what it describes; an Initialised frontend goes to Connected.
 * - `close`: stop, give the rings back, and go to Closed (through Closing while I/O is under way).
 */
export type FrontendAction = 'wait' | 'publish' | 'connect' | 'close';

/**
 * What a backend does:
 * - `wait`: nothing yet.
 * - `offer`: write the features and go to InitWait; also when a frontend that had closed begins anew.
 * - `connect`: the frontend has published its rings: map and bind them, describe the device and go to Connected.
 * - `close`: the frontend is closing: stop taking requests and go to Closing.
 * - `disconnect`: the frontend is closed: unmap, unbind and go to Closed; if `online` is 0, it is over.
 *   Also when the frontend is Initialising all of a sudden: it closed and began anew between two looks.
 */
export type BackendAction = 'wait' | 'offer' | 'connect' | 'close' | 'disconnect';

type ByState<T> = Record<XenbusState, T>;

/** One action per state of the other end, in the order of the states. */
type Row<A> = readonly [A, A, A, A, A, A, A, A, A];

const { wait, publish, connect, close, offer, disconnect } = {
  wait: 'wait',
  publish: 'publish',
  connect: 'connect',
  close: 'close',
  offer: 'offer',
  disconnect: 'disconnect',
} as const;

// The rows below stand in columns.
// oxfmt-ignore
/** [own state][backend's state]. Columns: Unknown, Initialising, InitWait, Initialised, Connected, Closing, Closed, Reconfiguring, Reconfigured. */
export const frontendActions = {
  [XenbusStateUnknown]:       [wait, wait, wait,    wait, wait,    wait,  wait,  wait, wait],
  [XenbusStateInitialising]:  [wait, wait, publish, wait, wait,    close, wait,  wait, wait],
  [XenbusStateInitWait]:      [wait, wait, wait,    wait, connect, close, close, wait, wait],
  [XenbusStateInitialised]:   [wait, wait, wait,    wait, connect, close, close, wait, wait],
  [XenbusStateConnected]:     [wait, wait, wait,    wait, connect, close, close, wait, wait],
  [XenbusStateClosing]:       [wait, wait, wait,    wait, wait,    close, close, wait, wait],
  [XenbusStateClosed]:        [wait, wait, wait,    wait, wait,    wait,  wait,  wait, wait],
  [XenbusStateReconfiguring]: [wait, wait, wait,    wait, connect, close, close, wait, connect],
  [XenbusStateReconfigured]:  [wait, wait, wait,    wait, connect, close, close, wait, wait],
} satisfies ByState<Row<FrontendAction>>;

// oxfmt-ignore
/** [own state][frontend's state]. Columns: Unknown, Initialising, InitWait, Initialised, Connected, Closing, Closed, Reconfiguring, Reconfigured. */
export const backendActions = {
  [XenbusStateUnknown]:       [wait,       wait,       wait, wait,    wait,    wait,  wait,       wait, wait],
  [XenbusStateInitialising]:  [wait,       offer,      wait, offer,   offer,   close, disconnect, wait, wait],
  [XenbusStateInitWait]:      [wait,       wait,       wait, connect, connect, close, disconnect, wait, wait],
  [XenbusStateInitialised]:   [disconnect, disconnect, wait, connect, connect, close, disconnect, wait, wait],
  [XenbusStateConnected]:     [disconnect, disconnect, wait, wait,    wait,    close, disconnect, wait, wait],
  [XenbusStateClosing]:       [disconnect, disconnect, wait, wait,    wait,    wait,  disconnect, wait, wait],
  [XenbusStateClosed]:        [wait,       offer,      wait, wait,    wait,    wait,  wait,       wait, wait],
  [XenbusStateReconfiguring]: [disconnect, disconnect, wait, wait,    wait,    close, disconnect, wait, wait],
  [XenbusStateReconfigured]:  [disconnect, disconnect, wait, wait,    connect, close, disconnect, wait, wait],
} satisfies ByState<Row<BackendAction>>;

/** The states that a frontend may go to. */
export const frontendTransitions = {
  [XenbusStateUnknown]: [XenbusStateInitialising],
  [XenbusStateInitialising]: [
    XenbusStateInitWait,
    XenbusStateInitialised,
    XenbusStateConnected,
    XenbusStateClosing,
    XenbusStateClosed,
  ],
  [XenbusStateInitWait]: [
    XenbusStateInitialised,
    XenbusStateConnected,
    XenbusStateClosing,
    XenbusStateClosed,
  ],
  [XenbusStateInitialised]: [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed],
  [XenbusStateConnected]: [XenbusStateReconfiguring, XenbusStateClosing, XenbusStateClosed],
  [XenbusStateClosing]: [XenbusStateClosed],
  [XenbusStateClosed]: [XenbusStateInitialising],
  [XenbusStateReconfiguring]: [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed],
  [XenbusStateReconfigured]: [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed],
} satisfies ByState<readonly XenbusState[]>;

/** The states that a backend may go to. */
export const backendTransitions = {
  [XenbusStateUnknown]: [XenbusStateInitialising],
  [XenbusStateInitialising]: [XenbusStateInitWait, XenbusStateClosing, XenbusStateClosed],
  [XenbusStateInitWait]: [
    XenbusStateInitialised,
    XenbusStateConnected,
    XenbusStateClosing,
    XenbusStateClosed,
  ],
  [XenbusStateInitialised]: [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed],
  [XenbusStateConnected]: [
    XenbusStateReconfiguring,
    XenbusStateReconfigured,
    XenbusStateClosing,
    XenbusStateClosed,
  ],
  [XenbusStateClosing]: [XenbusStateClosed],
  [XenbusStateClosed]: [XenbusStateInitialising, XenbusStateInitWait],
  [XenbusStateReconfiguring]: [
    XenbusStateReconfigured,
    XenbusStateConnected,
    XenbusStateClosing,
    XenbusStateClosed,
  ],
  [XenbusStateReconfigured]: [XenbusStateConnected, XenbusStateClosing, XenbusStateClosed],
} satisfies ByState<readonly XenbusState[]>;
