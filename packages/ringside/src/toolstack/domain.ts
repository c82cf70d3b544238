/**
 * A domain as `xl create` makes it: memory, a home in the store, the introduction. Sources:
 * docs/misc/xenstore-paths.pandoc; libxl__domain_make and libxl__build_post say which nodes.
 */
import {
  bootGuest,
  createDomain,
  type CreateDomainOptions,
  domId,
  type Guest,
  type Machine,
  PAGE_SIZE,
  type Random,
} from '@ringside/gnttab-core';
import {
  homeOf,
  type InProcessXenStore,
  introduceDomain,
  readOnlyFor,
  XenStoreClient,
} from '@ringside/xenstore-lite';

/** A domain with a name; the rest is as the hypervisor has it. */
export interface NewDomainOptions extends CreateDomainOptions {
  readonly name: string;
}

/** A domain that is up. */
export interface RunningDomain {
  readonly name: string;
  /** Its kernel. */
  readonly guest: Guest;
  /** Its own connection to the store. */
  readonly store: XenStoreClient;
}

const KIB_PER_PAGE = PAGE_SIZE / 1024;
const DOM0 = domId(0);

/** Builds a domain, writes its home, introduces it and boots its kernel. Throws OutOfMemory, RangeError. */
export async function buildRunningDomain(
  machine: Machine,
  xenstore: InProcessXenStore,
  dom0: XenStoreClient,
  random: Random,
  { name, ...options }: NewDomainOptions,
): Promise<RunningDomain> {
  const domain = createDomain(machine, options);
  const guest = bootGuest(domain);
  const storeGfn = guest.memory.frameOf(guest.memory.allocPage());
  const storePort = guest.events.allocUnbound(DOM0).port;
  await introduceDomain(dom0, { domid: domain.id, name, storeGfn, storePort });

  const home = homeOf(domain.id);
  const vm = `/vm/${uuid(random)}`;
  const nodes = {
    [`${home}/vm`]: vm,
    [`${home}/memory/static-max`]: domain.maxPages * KIB_PER_PAGE,
    [`${home}/memory/target`]: domain.totPages * KIB_PER_PAGE,
    [`${home}/cpu/0/availability`]: 'online',
    [`${home}/control/platform-feature-multiprocessor-suspend`]: 1,
    [`${home}/control/platform-feature-xs_reset_watches`]: 1,
    [`${vm}/name`]: name,
    [`${vm}/uuid`]: vm.slice('/vm/'.length),
    [`/libxl/${domain.id}/type`]: domain.translated ? 'pvh' : 'pv',
  };
  await dom0.transaction(async (tx) => {
    await tx.mkdir(vm);
    await tx.setPerms(vm, readOnlyFor(domain.id));
    for (const [path, value] of Object.entries(nodes)) await tx.write(path, String(value));
  });
  return { name, guest, store: new XenStoreClient(xenstore.connect(domain.id)) };
}

/** A random (version 4) UUID, RFC 9562. */
function uuid(random: Random): string {
  const hex = Array.from({ length: 4 }, () => random.u32().toString(16).padStart(8, '0')).join('');
  const variant = (8 | random.below(4)).toString(16);
  const groups = [
    hex.slice(0, 8),
    hex.slice(8, 12),
    `4${hex.slice(13, 16)}`,
    `${variant}${hex.slice(17, 20)}`,
    hex.slice(20),
  ];
  return groups.join('-');
}
