import type { Field } from '@ringside/gnttab-core/abi';
import { describe, expect, it } from 'vitest';
import { abis, cName, structs } from './declared.ts';
import { layouts } from './vectors.ts';
import type { CField } from './vectors.ts';

/** A guest handle is a struct around one pointer; the tables say `pointer` at once. */
function withoutHandles(fields: readonly CField[]): readonly CField[] {
  const handles = new Set(
    fields.filter(({ ctype }) => ctype.startsWith('__guest_handle_')).map(({ path }) => path),
  );
  return fields
    .filter(({ path }) => !handles.has(path.replace(/\.p$/, '')) || handles.has(path))
    .map((field) => (handles.has(field.path) ? { ...field, kind: 'pointer' } : field));
}

const line = ({ path, offset, size, align, kind, count, stride }: Field | CField) => {
  const extent = `${path} @${offset} size ${size} align ${align} ${kind}`;
  return count === undefined ? extent : `${extent} of ${count} every ${stride}`;
};

describe.each(abis)('%s', (abi) => {
  const declared = structs.map((struct) => struct[abi]);
  const fields = declared.flatMap((struct) => struct.fields).length;

  it.each(declared.map((struct) => [cName(struct), struct] as const))('%s', (name, struct) => {
    const genuine = layouts.abis[abi].types[name];
    if (genuine === undefined) expect.fail('no public header declares it');
    expect(struct.fields.map(line)).toEqual(withoutHandles(genuine.fields).map(line));
    expect({ size: struct.size, align: struct.align }).toEqual({
      size: genuine.size,
      align: genuine.align,
    });
    const topLevel = struct.fields.filter(({ path }) => path in struct.table);
    expect(struct.offset).toEqual(
      Object.fromEntries(topLevel.map(({ path, offset }) => [path, offset])),
    );
  });

  it(`compares ${declared.length} structs and unions with ${fields} fields`, () => {
    expect(declared.length).toBeGreaterThan(0);
    expect(fields).toBeGreaterThan(declared.length);
    expect(new Set(declared.map(cName)).size).toBe(declared.length);
  });
});
