/** In-process XenStore and the xenbus handshake. */
export {};
