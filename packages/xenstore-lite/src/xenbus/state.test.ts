import { describe, expect, test } from 'vitest';
import {
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
} from './abi.ts';
import type { XenbusState } from './abi.ts';
import {
  backendActions,
  backendTransitions,
  frontendActions,
  frontendTransitions,
  parseXenbusState,
} from './state.ts';

const states: readonly XenbusState[] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/** Plays both tables against each other: each end acts on what it sees, in turn, until nobody moves. */
function play(start: [XenbusState, XenbusState], frontendPublishesTo: XenbusState): string[] {
  let [front, back] = start;
  const story: string[] = [];
  for (let quiet = 0; quiet < 2;) {
    quiet++;
    const frontGoes = {
      wait: front,
      publish: frontendPublishesTo,
      connect: XenbusStateConnected,
      close: XenbusStateClosed,
    }[frontendActions[front][back]] as XenbusState;
    if (frontGoes !== front) {
      expect(frontendTransitions[front]).toContain(frontGoes);
      story.push(`front ${front}→${frontGoes}`);
      [front, quiet] = [frontGoes, 0];
    }
    const backGoes = {
      wait: back,
      offer: XenbusStateInitWait,
      connect: XenbusStateConnected,
      close: XenbusStateClosing,
      disconnect: XenbusStateClosed,
    }[backendActions[back][front]] as XenbusState;
    if (backGoes !== back) {
      expect(backendTransitions[back]).toContain(backGoes);
      story.push(`back ${back}→${backGoes}`);
      [back, quiet] = [backGoes, 0];
    }
  }
  return story;
}

describe('the two tables played against each other', () => {
  test('a vbd connects through Initialised', () => {
    expect(
      play([XenbusStateInitialising, XenbusStateInitialising], XenbusStateInitialised),
    ).toEqual(['back 1→2', 'front 1→3', 'back 2→4', 'front 3→4']);
  });

  test('a vif goes straight to Connected', () => {
    expect(play([XenbusStateInitialising, XenbusStateInitialising], XenbusStateConnected)).toEqual([
      'back 1→2',
      'front 1→4',
      'back 2→4',
    ]);
  });

  test('a backend that the toolstack sets to Closing takes the frontend with it', () => {
    expect(play([XenbusStateConnected, XenbusStateClosing], XenbusStateConnected)).toEqual([
      'front 4→6',
      'back 5→6',
    ]);
  });

  test('a frontend that begins anew is offered the device again', () => {
    expect(play([XenbusStateInitialising, XenbusStateClosed], XenbusStateInitialised)).toEqual([
      'back 6→2',
      'front 1→3',
      'back 2→4',
      'front 3→4',
    ]);
  });

  test('a frontend that closed and began anew unseen is disconnected first', () => {
    expect(play([XenbusStateInitialising, XenbusStateConnected], XenbusStateConnected)).toEqual([
      'back 4→6',
      'back 6→2',
      'front 1→4',
      'back 2→4',
    ]);
    expect(backendActions[XenbusStateClosing][XenbusStateInitialising]).toBe('disconnect');
  });

  test.each(states.flatMap((front) => states.map((back) => [front, back] as const)))(
    'from frontend %i, backend %i they come to rest by allowed steps',
    (front, back) => {
      expect(play([front, back], XenbusStateInitialised).length).toBeLessThan(8);
    },
  );
});

describe('a state node', () => {
  test.each([
    ['4', 4],
    ['0', 0],
    ['8', 8],
    ['9', 0],
    ['-1', 0],
    ['04', 0],
    ['4\0', 0],
    ['', 0],
    ['Connected', 0],
    [undefined, 0],
  ])('%j means %i', (text, state) => {
    expect(parseXenbusState(text)).toBe(state);
  });
});
