/** What the public headers define of XenStore: io/xs_wire.h and io/xenbus.h. */
export * from './wire/abi.ts';
export * from './xenbus/abi.ts';
