import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Children } from './children.ts';

describe('children', () => {
  test('are listed in order of creation, whatever was removed between', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant('append' as const) },
      { weight: 2, arbitrary: fc.nat().map((which) => ({ remove: which })) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        let children = Children.none;
        const model: { position: number; name: string }[] = [];
        const versions: [Children, string[]][] = [];
        for (const [i, action] of steps.entries()) {
          if (action === 'append') {
            model.push({ position: children.nextPosition, name: `n${i}` });
            children = children.append(`n${i}`);
          } else if (model.length > 0) {
            const [{ position, name }] = model.splice(action.remove % model.length, 1) as [
              { position: number; name: string },
            ];
            children = children.remove(position, name);
          }
          versions.push([children, model.map(({ name }) => name)]);
        }
        // Older versions are as they were.
        for (const [version, names] of versions) {
          expect(version.names()).toEqual(names);
          expect(version.listBytes).toBe(names.join('').length + names.length);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('stay what they are when a name is not where it should be', () => {
    const children = Children.none.append('a').append('b');
    expect(children.remove(0, 'b')).toBe(children);
    expect(children.remove(2, 'a')).toBe(children);
    expect(children.remove(0, 'a').remove(0, 'a').names()).toEqual(['b']);
  });

  test('a directory that lived long holds no more than its names', () => {
    let children = Children.none;
    for (let i = 0; i < 5000; i++) children = children.append(`n${i}`).remove(i, `n${i}`);
    children = children.append('last');
    expect(children.names()).toEqual(['last']);
    expect(children.at(5000)).toBe('last');
  });
});
