/** What xl does first with a new domain: a home directory that the guest finds its way in, and the introduction. */
import type { XenStoreClient } from '../client/client.stream.ts';
import { childOf, homeOf } from '../store/path.ts';
import { homePermissions } from './permissions.ts';

/** A new domain, as the toolstack knows it. */
export interface NewDomain {
  readonly domid: number;
  readonly name: string;
  /** The page of the store's ring, and the event channel that it is announced by. */
  readonly storeGfn: number;
  readonly storePort: number;
}

/** Makes a domain's home directory in one transaction, then introduces it. `client` is a connection of domain 0. */
export async function introduceDomain(client: XenStoreClient, domain: NewDomain): Promise<void> {
  const { domid, name, storeGfn, storePort } = domain;
  const home = homeOf(domid);
  await client.transaction(async (tx) => {
    if (await tx.exists(home)) await tx.rm(home);
    for (const node of homePermissions(domid)) {
      const path = node.name === '' ? home : childOf(home, node.name);
      await tx.mkdir(path);
      await tx.setPerms(path, node.permissions);
    }
    await tx.write(`${home}/name`, name);
    await tx.write(`${home}/domid`, String(domid));
    await tx.write(`${home}/store/ring-ref`, String(storeGfn));
    await tx.write(`${home}/store/port`, String(storePort));
  });
  await client.introduce(domid, storeGfn, storePort);
}
