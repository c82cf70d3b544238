/** The private bytes that a slot passes through on its way in or out. */

/** One slot as words (to copy) and as a view (to decode and encode). */
export interface SlotScratch {
  readonly words: Int32Array;
  readonly view: DataView;
}

export function slotScratch(slotBytes: number): SlotScratch {
  const words = new Int32Array(slotBytes / 4);
  return { words, view: new DataView(words.buffer) };
}
