import { createMachine } from '@ringside/gnttab-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { momentLines } from './dump.ts';
import { type Moment, namesOf } from './moment.ts';
import { runSharingLab } from './sharing.ts';

const names = new Map<number, string>();
const moments: Moment[] = [];
beforeAll(async () => {
  const machine = createMachine({ seed: 1 });
  await runSharingLab({ machine, names, onMoment: (moment) => moments.push(moment) });
});

/** Titles and remarks, without handles and addresses. */
const story = () =>
  moments.flatMap(({ title, remarks }) => [
    title,
    ...remarks.map((remark) => `  ${remark.replace(/ at 0x\w+| \(handle \d+\)/g, '')}`),
  ]);

test('a peer lets go, and then it does not', () => {
  const cannot = '  reference 8 of guest1 cannot end: driver';
  const free = "  the page is guest1's alone, and may be used for anything";
  const keeps = [
    'guest1 grants a page, reference 8; driver maps it and keeps it',
    'guest1 tries to end reference 8: busy',
    `${cannot} maps it writable`,
  ];
  const ended = [
    'guest1 tries to end reference 8: ended',
    free,
    'driver unmaps what was taken back',
  ];
  expect(story()).toEqual([
    'guest1 grants a page to driver: reference 8',
    'driver maps it read-only',
    'driver maps it again, writable',
    'driver copies from it: the hypercall is under way',
    'guest1 tries to end reference 8: busy',
    `${cannot} maps it read-only`,
    `${cannot} maps it writable`,
    'driver unmaps the writable mapping',
    'guest1 tries to end reference 8: busy',
    `${cannot} maps it read-only`,
    'driver unmaps the read-only mapping',
    'guest1 tries to end reference 8: ended',
    free,
    ...keeps,
    'Domain-0 puts a time limit on reference 8; what follows is a fault',
    'the time of reference 8 is over: revoked',
    'guest1 reuses the page; driver looks at its mapping',
    '  driver faults: read: page is not-present',
    ...ended,
    ...keeps,
    'Domain-0 puts a time limit on reference 8; what follows is a private copy',
    'the time of reference 8 is over: revoked',
    'guest1 reuses the page; driver looks at its mapping',
    '  driver reads "mine!", as the page was when it was taken back',
    ...ended,
    'driver maps reference 8, and overwrites its own page table entry',
    'guest1 tries to end reference 8: busy',
    `${cannot} has overwritten its writable mapping and not unmapped it`,
    'Domain-0 puts a time limit on reference 8; what follows is a fault',
    'the time of reference 8 is over: revoked',
    ...ended,
  ]);
});

test('in the end nothing is granted and nothing is mapped', () => {
  for (const { grants, looseMappings, handles } of moments.at(-1)!.tables) {
    expect({ grants, looseMappings, used: handles.used }).toEqual({
      grants: [],
      looseMappings: [],
      used: 0,
    });
  }
});

describe('a moment as text', () => {
  const linesOf = (title: string) =>
    momentLines(
      moments.find((moment) => moment.title.startsWith(title))!,
      namesOf(names),
    )
      .map((line) => line.replaceAll(/0x\w+/g, '0x…'))
      .map((line) => line.replaceAll(/ {2,}/g, '  '));

  test('has a row for each user of a grant', () => {
    expect(linesOf('driver copies from it')).toEqual([
      '* driver copies from it: the hypercall is under way',
      '  granter  ref  grant  to  frame  in use  pins  who uses it',
      '  guest1  8  GTF_permit_access  driver  0x…  reading writing  hstw 1 hstr 2  driver read-only at 0x… (handle 0)',
      '  driver writable at 0x… (handle 1)',
      '  driver copies from it',
    ]);
  });

  test('has what was taken back below the grants', () => {
    expect(linesOf('the time of reference 8')).toEqual([
      '* the time of reference 8 is over: revoked',
      '  nothing is granted',
      '  handle 2 of driver, a page of guest1: taken back, faults, waits for its unmap',
    ]);
  });
});
