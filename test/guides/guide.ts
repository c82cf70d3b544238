/**
 * A guide (docs/guides/*.md) as a program. Its ```ts blocks are one module, in order; a ```text block after a ```ts
 * block is what that block printed with console.log.
 */
import { build } from 'esbuild';

/** A fenced block; lines are counted from 0, and include the fences. */
interface Block {
  readonly language: string;
  readonly firstLine: number;
  readonly lastLine: number;
}

function blocksOf(lines: readonly string[]): Block[] {
  const blocks: Block[] = [];
  let open: { language: string; firstLine: number } | undefined;
  lines.forEach((line, number) => {
    const fence = /^```(\w*)$/.exec(line);
    if (fence === null) return;
    if (open === undefined) {
      open = { language: fence[1]!, firstLine: number };
    } else {
      blocks.push({ ...open, lastLine: number });
      open = undefined;
    }
  });
  if (open !== undefined) throw new Error(`line ${open.firstLine + 1}: the block has no end`);
  return blocks;
}

/** Bundles a module, with its imports resolved as in `directory`, to something `import` takes. */
async function bundle(source: string, name: string, directory: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: source, sourcefile: name, resolveDir: directory, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    target: 'node20',
  });
  return `data:text/javascript;base64,${Buffer.from(outputFiles[0]!.contents).toString('base64')}`;
}

let runs = 0;

/**
 * Runs a guide and returns its text with every output block as it came out. Rejects with what a block threw, and if a
 * block prints something that the guide does not show.
 *
 * @param directory where the guide's imports are looked up.
 */
export async function runGuide(text: string, name: string, directory: string): Promise<string> {
  const lines = text.split('\n');
  const blocks = blocksOf(lines);
  const programs = blocks.filter(({ language }) => language === 'ts');
  const printed = programs.map((): string[] => []);

  // Line numbers stay those of the guide: prose becomes empty lines, the fences say which block prints.
  const source = lines.map(() => '');
  programs.forEach(({ firstLine, lastLine }, number) => {
    source.splice(firstLine, lastLine - firstLine, ...lines.slice(firstLine, lastLine));
    source[firstLine] = `console.log = print[${number}];`;
  });
  const print = printed.map((output) => (message: unknown) => output.push(String(message)));

  const { log } = console;
  Reflect.set(globalThis, 'print', print);
  try {
    // The comment makes it a module of its own: the same module would not run twice.
    await import(await bundle(`${source.join('\n')}\n//! run ${++runs}`, name, directory));
  } finally {
    console.log = log;
    Reflect.deleteProperty(globalThis, 'print');
  }

  const result: string[] = [];
  let copied = 0;
  programs.forEach((program, number) => {
    const output = printed[number]!;
    const shown = blocks[blocks.indexOf(program) + 1];
    if (shown?.language === 'text') {
      result.push(...lines.slice(copied, shown.firstLine + 1), ...output.join('\n').split('\n'));
      copied = shown.lastLine;
    } else if (output.length > 0) {
      throw new Error(`${name}:${program.firstLine + 1}: prints, but no text block shows it`);
    }
  });
  return [...result, ...lines.slice(copied)].join('\n');
}
