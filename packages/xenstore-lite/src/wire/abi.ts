/** io/xs_wire.h: messages of the XenStore protocol, its error names, and the page that a guest shares with the daemon. */
import {
  array,
  structs,
  u32,
  u8,
  XEN_E2BIG,
  XEN_EACCES,
  XEN_EAGAIN,
  XEN_EBUSY,
  XEN_EEXIST,
  XEN_EINVAL,
  XEN_EIO,
  XEN_EISCONN,
  XEN_EISDIR,
  XEN_ENOENT,
  XEN_ENOMEM,
  XEN_ENOSPC,
  XEN_ENOSYS,
  XEN_ENOTEMPTY,
  XEN_EPERM,
  XEN_EROFS,
} from '@ringside/gnttab-core/abi';

/** io/xs_wire.h, xsd_sockmsg_type: what a message asks, answers or tells. */
export const XS_CONTROL = 0;
export const XS_DIRECTORY = 1;
export const XS_READ = 2;
export const XS_GET_PERMS = 3;
export const XS_WATCH = 4;
export const XS_UNWATCH = 5;
export const XS_TRANSACTION_START = 6;
export const XS_TRANSACTION_END = 7;
export const XS_INTRODUCE = 8;
export const XS_RELEASE = 9;
export const XS_GET_DOMAIN_PATH = 10;
export const XS_WRITE = 11;
export const XS_MKDIR = 12;
export const XS_RM = 13;
export const XS_SET_PERMS = 14;
export const XS_WATCH_EVENT = 15;
export const XS_ERROR = 16;
export const XS_IS_DOMAIN_INTRODUCED = 17;
export const XS_RESUME = 18;
export const XS_SET_TARGET = 19;
export const XS_RESET_WATCHES = 21;
export const XS_DIRECTORY_PART = 22;
/** Above every type. Not the number of them: one was removed. */
export const XS_TYPE_COUNT = 23;
export const XS_INVALID = 0xffff;

/** io/xs_wire.h, xs_watch_type: the strings of a watch event, in order. */
export const XS_WATCH_PATH = 0;
export const XS_WATCH_TOKEN = 1;

/** io/xs_wire.h, xsd_errors: the payload of XS_ERROR, and the number that it stands for. */
export const xsd_errors = [
  { errstring: 'EINVAL', errnum: XEN_EINVAL },
  { errstring: 'EACCES', errnum: XEN_EACCES },
  { errstring: 'EEXIST', errnum: XEN_EEXIST },
  { errstring: 'EISDIR', errnum: XEN_EISDIR },
  { errstring: 'ENOENT', errnum: XEN_ENOENT },
  { errstring: 'ENOMEM', errnum: XEN_ENOMEM },
  { errstring: 'ENOSPC', errnum: XEN_ENOSPC },
  { errstring: 'EIO', errnum: XEN_EIO },
  { errstring: 'ENOTEMPTY', errnum: XEN_ENOTEMPTY },
  { errstring: 'ENOSYS', errnum: XEN_ENOSYS },
  { errstring: 'EROFS', errnum: XEN_EROFS },
  { errstring: 'EBUSY', errnum: XEN_EBUSY },
  { errstring: 'EAGAIN', errnum: XEN_EAGAIN },
  { errstring: 'EISCONN', errnum: XEN_EISCONN },
  { errstring: 'E2BIG', errnum: XEN_E2BIG },
  { errstring: 'EPERM', errnum: XEN_EPERM },
] as const;

/** xsd_sockmsg, io/xs_wire.h: the header of a message; `len` bytes of payload follow. */
export const xsdSockmsg = structs(
  'xsd_sockmsg',
  { type: u32, req_id: u32, tx_id: u32, len: u32 },
  16,
);

/** io/xs_wire.h: bytes in each direction of the shared page. */
export const XENSTORE_RING_SIZE = 1024;

/** io/xs_wire.h: limits. A longer payload ends the connection; a longer path is only refused. */
export const XENSTORE_PAYLOAD_MAX = 4096;
export const XENSTORE_ABS_PATH_MAX = 3072;
export const XENSTORE_REL_PATH_MAX = 2048;

/** io/xs_wire.h, xenstore_domain_interface `server_features`. */
/** The guest may ask for a new connection. */
export const XENSTORE_SERVER_FEATURE_RECONNECTION = 1;
/** The page has the field `error`. */
export const XENSTORE_SERVER_FEATURE_ERROR = 2;

/** io/xs_wire.h, xenstore_domain_interface `connection`. */
export const XENSTORE_CONNECTED = 0;
export const XENSTORE_RECONNECT = 1;

/** io/xs_wire.h, xenstore_domain_interface `error`. */
export const XENSTORE_ERROR_NONE = 0;
export const XENSTORE_ERROR_COMM = 1;
export const XENSTORE_ERROR_RINGIDX = 2;
export const XENSTORE_ERROR_PROTO = 3;

/** xenstore_domain_interface, io/xs_wire.h: two byte rings; indices run freely and are masked when used. */
export const xenstoreDomainInterface = structs(
  'xenstore_domain_interface',
  {
    req: array(u8, XENSTORE_RING_SIZE),
    rsp: array(u8, XENSTORE_RING_SIZE),
    req_cons: u32,
    req_prod: u32,
    rsp_cons: u32,
    rsp_prod: u32,
    server_features: u32,
    connection: u32,
    error: u32,
  },
  2076,
);
