/** The private bytes that slots pass through on their way in and out. */

/** Some slots as words (to copy) and as a view (to decode and encode). */
export class SlotScratch {
  words: Int32Array;
  view: DataView;
  readonly #slotBytes: number;

  constructor(slotBytes: number) {
    this.#slotBytes = slotBytes;
    this.words = new Int32Array(slotBytes >>> 2);
    this.view = new DataView(this.words.buffer);
  }

  /** Makes room for at least `count` slots; what was there may be lost. */
  reserve(count: number): void {
    const words = (count * this.#slotBytes) >>> 2;
    if (this.words.length >= words) return;
    this.words = new Int32Array(words);
    this.view = new DataView(this.words.buffer);
  }

  /** Zeroes the first `words` words; a loop, because most slots are short. */
  clear(words: number): void {
    const all = this.words;
    for (let i = 0; i < words; i++) all[i] = 0;
  }
}
