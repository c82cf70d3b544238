/** Numbers of virtual disks. Source: docs/man/xen-vbd-interface.7.pandoc of Xen. */

const XVD_MAJOR = 202;
const EXTENDED = 1 << 28;

/**
 * The number of a whole disk in the guest: `xvda` is 51712, `xvdb` 51728, from the 17th on (`xvdq`) the extended form.
 * Throws RangeError for anything but xvda to xvdzz.
 */
export function vbdNumber(vdev: string): number {
  const letters = /^xvd([a-z]{1,2})$/.exec(vdev)?.[1];
  if (letters === undefined) throw new RangeError(`vdev "${vdev}"; allowed: xvda to xvdzz`);
  // Bijective base 26: a is 1, z is 26, aa is 27.
  let disk = -1;
  for (let i = 0; i < letters.length; i++) disk = (disk + 1) * 26 + letters.charCodeAt(i) - 97;
  return disk < 16 ? (XVD_MAJOR << 8) | (disk << 4) : EXTENDED | (disk << 8);
}
