import { bootGuest, createDomain, createMachine } from '@ringside/gnttab-core';
import { describeGrants } from '@ringside/gnttab-core/hypervisor';
import { expect, test } from 'vitest';
import { grantRows, resourceRows, tableLines } from './dump.ts';

const nameOf = (domid: number) => `dom${domid}`;

function twoGuests(grantVersion: 1 | 2 = 1) {
  const machine = createMachine({ memoryPages: 2048, seed: 1 });
  const guest = bootGuest(createDomain(machine, { pages: 32 }), { grantVersion });
  const peer = bootGuest(createDomain(machine, { pages: 32 }));
  const rows = () => grantRows(describeGrants(machine), nameOf).slice(1);
  return { machine, guest, peer, rows };
}

/** Reference, grant and user of each row; those of one grant's further users are empty. */
const brief = (rows: string[][]) => rows.map((row) => [row[1], row[2], row[4], row.at(-1)]);

test('neighbours that nobody uses and that are alike share a row', () => {
  const { guest, peer, rows } = twoGuests();
  const pages = guest.memory.allocPages(6);
  const refs = guest.grants.grantForeignAccessBatch(peer.id, pages);
  expect(refs).toEqual([8, 9, 10, 11, 12, 13]);
  using _mapping = peer.mappings.map(guest.id, refs[2]!, { readonly: true });
  guest.grants.makeReadonly(refs[5]!);
  const access = 'GTF_permit_access';
  const frame = (n: number) => `0x${guest.memory.frameOf(pages[n]!).toString(16)}`;
  expect(brief(rows())).toEqual([
    ['8-9', access, '2 frames', 'nobody'],
    ['10', access, frame(2), expect.stringMatching(/^dom1 read-only at 0x[0-9a-f]+ \(handle 0\)$/)],
    ['11-12', access, '2 frames', 'nobody'],
    ['13', `${access} GTF_readonly`, frame(5), 'nobody'],
  ]);
});

test('grants of version 2', () => {
  const { guest, peer, rows } = twoGuests(2);
  const page = guest.memory.allocPage();
  guest.grants.grantForeignAccessSubpage(peer.id, page, 100, 24);
  const theirs = peer.grants.grantForeignAccess(guest.id, peer.memory.allocPage());
  guest.grants.grantForeignAccessTransitive(peer.id, peer.id, theirs, { readonly: true });
  expect(brief(rows()).map(([, grant]) => grant)).toEqual([
    'GTF_permit_access GTF_sub_page, 24 bytes at 100',
    `GTF_transitive GTF_readonly, reference ${theirs} of dom1`,
    'GTF_permit_access',
  ]);
});

test('a row for each table says how full it is', () => {
  const { machine, guest, peer } = twoGuests();
  const ref = guest.grants.grantForeignAccess(peer.id, guest.memory.allocPage());
  using _mapping = peer.mappings.map(guest.id, ref);
  expect(resourceRows(describeGrants(machine), nameOf)).toEqual([
    ['table', 'version', 'frames', 'entries', 'handles', 'free by vcpu'],
    ['dom0', '1', '1 of 64', '1 of 32,768', '0 of 65,536', '0'],
    ['dom1', '1', '1 of 64', '0 of 32,768', '1 of 65,536', '255'],
  ]);
});

test('a machine where nothing is granted', () => {
  const { machine } = twoGuests();
  expect(tableLines(describeGrants(machine), nameOf)).toEqual(['nothing is granted']);
});
