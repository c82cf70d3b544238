import {
  errnoNames,
  GNTST_no_space,
  gnttabErrorMessage,
  GNTTABOP_error_msgs,
} from '@ringside/gnttab-core/abi';
import { xsd_errors } from '@ringside/xenstore-lite/abi';
import { describe, expect, it } from 'vitest';
import { abis, constants, dropped, exported, valueOf } from './declared.ts';
import { constantVectors } from './vectors.ts';

describe.each(abis)('%s', (abi) => {
  const { macros, enums } = constantVectors.abis[abi];
  const genuine = new Map<string, string>([
    ...Object.values(macros).flatMap((header) =>
      Object.entries(header).map(([name, { value }]) => [name, value] as const),
    ),
    ...Object.values(enums).flatMap(({ values }) =>
      Object.entries(values).map(([name, value]) => [name, String(value)] as const),
    ),
    ...Object.values(constantVectors.strings[abi]).flatMap((header) => Object.entries(header)),
  ]);

  it(`has the headers' value in ${constants.length} constants`, () => {
    expect(constants.length).toBeGreaterThan(0);
    expect(
      Object.fromEntries(constants.map(([name, value]) => [name, String(valueOf(value, abi))])),
    ).toEqual(
      Object.fromEntries(constants.map(([name]) => [name, genuine.get(name) ?? 'in no header'])),
    );
  });
});

it('errno.h: has every error number', () => {
  const declared = constants.filter(([name]) => name.startsWith('XEN_E'));
  const { xen_errno } = constantVectors.tables;
  expect(xen_errno.length).toBeGreaterThan(0);
  expect(Object.fromEntries(declared)).toMatchObject(
    Object.fromEntries(xen_errno.map(({ name, value }) => [`XEN_${name}`, value])),
  );
});

it('errno.h: names every error number, aliases by the first name', () => {
  const genuine = new Map<number, string>();
  for (const { name, value } of constantVectors.tables.xen_errno)
    if (!genuine.has(value)) genuine.set(value, name);
  expect(Object.fromEntries(errnoNames)).toEqual(Object.fromEntries(genuine));
});

it('grant_table.h: has a message for every status', () => {
  const statuses = constants.filter(([name]) => name.startsWith('GNTST_'));
  const { gnttabop_error_msgs } = constantVectors.tables;
  expect(GNTTABOP_error_msgs.map((msg, index) => ({ status: 0 - index, msg }))).toEqual(
    gnttabop_error_msgs,
  );
  expect(statuses.length).toBe(GNTTABOP_error_msgs.length);
  expect(gnttabErrorMessage(GNTST_no_space)).toBe('out of space');
  expect(gnttabErrorMessage(GNTST_no_space - 1)).toBe('unknown status -14');
  expect(gnttabErrorMessage(1)).toBe('unknown status 1');
});

it('io/xs_wire.h: has the error names in order', () => {
  expect(xsd_errors).toEqual(constantVectors.tables.xsd_errors);
});

it.each(dropped)('%s is what it was in Xen 4.5: %d', (name, was) => {
  expect(exported.get(name)).toBe(was);
});
