/** A grant whose life is a block of code. */
import type { GrantRef } from '../machine/page.ts';
import type { DeferredEnd } from './deferred-ends.stream.ts';

/** A grant that ends with its block: `using grant = grants.grantAccess(peer, page)`. */
export interface AccessGrant {
  readonly ref: GrantRef;
  /** 'busy' while the peer maps the page. */
  end(): 'ended' | 'busy';
  /** Ends the grant; one still in use goes to the deferred queue, see `deferredEnds`. */
  [Symbol.dispose](): void;
}

/** What an AccessGrant does to its reference. */
interface Ends {
  endForeignAccess(ref: GrantRef): 'ended' | 'busy';
  retryDeferredEnds(): number;
}

/** Makes one. `defer` puts the reference on the deferred queue. */
export function accessGrant(ref: GrantRef, grants: Ends, defer: () => DeferredEnd): AccessGrant {
  let ended = false;
  let deferred: DeferredEnd | undefined;
  const end = () => {
    if (ended) return 'ended';
    if (deferred === undefined) ended = grants.endForeignAccess(ref) === 'ended';
    else {
      grants.retryDeferredEnds();
      ({ ended } = deferred);
    }
    return ended ? 'ended' : 'busy';
  };
  return {
    ref,
    end,
    [Symbol.dispose]: () => {
      if (deferred === undefined && end() === 'busy') deferred = defer();
    },
  };
}
