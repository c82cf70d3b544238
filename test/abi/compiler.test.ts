import { spawnSync } from 'node:child_process';
import type { Abi } from '@ringside/gnttab-core/abi';
import { expect, it } from 'vitest';
import { requireClient } from '../support/clients.ts';
import { abis, cName, constants, structs, valueOf } from './declared.ts';
import { constantVectors, layouts } from './vectors.ts';

const option: Record<Abi, string> = { x86_64: '-m64', i386: '-m32' };

const headers = [
  ...Object.values(layouts.abis.x86_64.types).map(({ header }) => header),
  ...Object.keys(constantVectors.abis.x86_64.macros),
  ...Object.values(constantVectors.abis.x86_64.enums).map(({ header }) => header),
].filter((header) =>
  /^(xen|grant_table|event_channel|memory|version|features|vcpu|sched|errno|io\/\w+)\.h$/.test(
    header,
  ),
);

const includes = ['stddef.h', 'stdint.h', 'xen/xen.h', ...new Set(headers.map((h) => `xen/${h}`))]
  .map((header) => `#include <${header}>`)
  .join('\n');

/** Says in C that the value of an expression is what the tables say; the message names what was asked. */
const claim = (expression: string, value: number | bigint | string, asked = expression) =>
  `_Static_assert((${expression}) == ${value}, "${asked} is not ${value}");`;

const integer = (value: number | bigint | string) =>
  BigInt(value) >= 2n ** 63n ? `${value}ULL` : `${value}LL`;

function layoutClaims(abi: Abi): string[] {
  return structs
    .map((struct) => struct[abi])
    .flatMap((struct) => {
      const type = cName(struct);
      return [
        claim(`sizeof(${type})`, struct.size),
        claim(`_Alignof(${type})`, struct.align),
        ...struct.fields.flatMap(({ path, offset, size }) => [
          claim(`offsetof(${type}, ${path})`, offset),
          claim(`sizeof(((${type} *)0)->${path})`, size, `sizeof(${type}, ${path})`),
        ]),
      ];
    });
}

const constantClaims = (abi: Abi): string[] =>
  constants.map(([name, value]) => claim(name, integer(valueOf(value, abi))));

/** The compiler's complaints; none if it agrees with every claim. */
function complaints(gcc: string, abi: Abi, claims: readonly string[]): string[] {
  const { status, stderr } = spawnSync(
    gcc,
    [
      option[abi],
      '-D__XEN_INTERFACE_VERSION__=0x00040e00',
      '-ffreestanding',
      '-fsyntax-only',
      '-xc',
      '-',
    ],
    { input: [includes, ...claims, ''].join('\n'), encoding: 'utf8' },
  );
  const errors = stderr.split('\n').filter((line) => line.includes('error:'));
  return status === 0 ? errors : [...errors, `gcc ended with status ${status}`];
}

for (const abi of abis) {
  const claims = [...layoutClaims(abi), ...constantClaims(abi)];

  it(`${abi}: the installed compiler agrees with ${claims.length} claims`, (context) => {
    requireClient(context, '/usr/include/xen/grant_table.h');
    const gcc = requireClient(context, 'gcc');
    expect(claims.length).toBeGreaterThan(structs.length + constants.length);
    expect(complaints(gcc, abi, claims)).toEqual([]);
  });

  it(`${abi}: the compiler refuses a wrong claim`, (context) => {
    requireClient(context, '/usr/include/xen/grant_table.h');
    const gcc = requireClient(context, 'gcc');
    const wrong = claim('sizeof(struct grant_entry_v1)', 9);
    expect(complaints(gcc, abi, [wrong]).join()).toContain('is not 9');
  });
}
