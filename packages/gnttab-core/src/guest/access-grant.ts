/** A grant whose life is a block of code. */
import type { GrantRef } from '../machine/page.ts';

/** A grant that ends with its block: `using grant = grants.grantAccess(peer, page)`. */
export interface AccessGrant {
  /** What the peer names the page by. */
  readonly ref: GrantRef;
  /** 'busy' while the peer maps the page. */
  end(): 'ended' | 'busy';
  /** Ends the grant; one still in use goes to the deferred queue, see `deferredEnds`. */
  [Symbol.dispose](): void;
}

/** True if the grant has ended. */
type TryEnd = () => boolean;

/** Makes one. `defer` puts the reference on the deferred queue, from where it is ended in another way than before. */
export function accessGrant(ref: GrantRef, tryEnd: TryEnd, defer: () => TryEnd): AccessGrant {
  let attempt = tryEnd;
  let [ended, deferred] = [false, false];
  const end = () => {
    ended ||= attempt();
    return ended ? 'ended' : 'busy';
  };
  return {
    ref,
    end,
    [Symbol.dispose]: () => {
      if (deferred || end() === 'ended') return;
      attempt = defer();
      deferred = true;
    },
  };
}
