/** `ringside replay`: recordings against the machine, from the command line. */
import { readFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { folderWith, ringside } from './ringside.ts';

const vector = (name: string, kind = 'gnttab'): Uint8Array =>
  readFileSync(new URL(`../vectors/${kind}/${name}.jsonl.gz`, import.meta.url));
const plain = (name: string): string => gunzipSync(vector(name)).toString('utf8');
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Every batch of swaps should have failed, if this were true. */
const forged = plain('s_swap_v1').replaceAll('"status":0', '"status":-9');
const wrong = forged.split('"status":-9').length - 1;

const files = {
  'swap.jsonl': bytes(plain('s_swap_v1')),
  'random.jsonl.gz': vector('r_v1_01'),
  'forged.jsonl.gz': gzipSync(forged),
  'text.jsonl': bytes('not a recording\n'),
  'other.jsonl': bytes('{"send":"x"}\n'),
  'format.jsonl': bytes(plain('s_swap_v1').replace('"format":1', '"format":2')),
  'arm.jsonl': bytes(plain('s_swap_v1').replace('"x86_64"', '"arm64"')),
  'huge.jsonl': bytes(plain('s_swap_v1').replace(/"frames":\d+/, '"frames":99999999999999')),
  'cut.jsonl': bytes(plain('s_swap_v1').split('\n').slice(0, -2).join('\n')),
  'empty.jsonl': new Uint8Array(0),
  'damaged.jsonl.gz': vector('s_swap_v1').slice(0, -20),
};

const replay = (folder: string, ...words: string[]) =>
  ringside(folder, 'replay', 'gnttab', ...words);

describe.concurrent('ringside replay', () => {
  test('has a line for each file, and a total', async (context) => {
    const folder = folderWith(context, files);
    const ended = await replay(folder, 'swap.jsonl', 'random.jsonl.gz');
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
    const lines = ended.stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^file +traces +steps +hypercalls +mismatches +time$/);
    expect(lines[1]).toMatch(/^swap\.jsonl +1 +\d+ +\d+ +0 +\S+ \S+$/);
    expect(lines[2]).toMatch(/^random\.jsonl\.gz +\d+ +[\d,]+ +[\d,]+ +0 +\S+ \S+$/);
    expect(lines[3]).toMatch(/^total +\d+ +[\d,]+ +[\d,]+ +0 +\S+ \S+$/);
  });

  test('shows the first differences', async (context) => {
    const folder = folderWith(context, files);
    const ended = await replay(folder, 'swap.jsonl', 'forged.jsonl.gz', '--differences', '1');
    expect(ended.exitCode).toBe(1);
    expect(ended.stderr).toBe(`ringside: ${wrong} mismatches in 1 of 2 files\n`);
    expect(wrong).toBeGreaterThan(1);
    expect(ended.stdout).toMatch(
      /\nforged\.jsonl\.gz:\d+: s_swap_v1, step \d+: domain \d swap_grant_ref[^\n]*\n {2}args\[0\] {2}ref_a \d+, ref_b \d+\n {2}out\[0\]\n {4}expected {2}status GNTST_bad_page \(-9, bad page\)\n {4}got {7}status GNTST_okay \(0, okay\)\n$/,
    );
    expect(ended.stdout.match(/expected/g)).toHaveLength(1);
  });

  test('prints one object with --json', async (context) => {
    const folder = folderWith(context, files);
    const ended = await replay(folder, 'swap.jsonl', 'forged.jsonl.gz', '--json');
    expect(ended.exitCode).toBe(1);
    const result: unknown = JSON.parse(ended.stdout);
    expect(result).toMatchObject({
      command: 'replay gnttab',
      ok: false,
      abi: 'x86_64',
      files: [
        { file: 'swap.jsonl', traces: 1, mismatches: 0 },
        { file: 'forged.jsonl.gz', traces: 1, mismatches: wrong },
      ],
      total: { traces: 2, mismatches: wrong },
      differences: Array.from({ length: 5 }, () => ({ file: 'forged.jsonl.gz', what: 'out[0]' })),
    });
  });

  test('replays through the layout of i386', async (context) => {
    const folder = folderWith(context, files);
    const ended = await replay(folder, '--abi', 'i386', 'swap.jsonl', 'random.jsonl.gz');
    expect(ended).toMatchObject({ exitCode: 0, stderr: '' });
  });

  test('one mismatch is one mismatch', async (context) => {
    const folder = folderWith(context, {
      'one.jsonl': bytes(plain('s_swap_v1').replace('"status":0', '"status":-9')),
    });
    const ended = await replay(folder, 'one.jsonl');
    expect(ended).toMatchObject({ exitCode: 1, stderr: 'ringside: 1 mismatch in 1 of 1 file\n' });
  });

  test('says why a map was refused with "undefined error"', async (context) => {
    const refused = /(?<="op":"map_grant_ref".*"status":)-1(?!\d)/;
    const text = plain('s_sub_page').split('\n');
    const line = text.findIndex((one) => refused.test(one));
    text[line] = text[line]!.replace(refused, '-8');
    const ended = await replay(
      folderWith(context, { 'sub.jsonl': bytes(text.join('\n')) }),
      'sub.jsonl',
    );
    expect(ended.exitCode).toBe(1);
    expect(ended.stdout).toContain(`sub.jsonl:${line + 1}: `);
    expect(ended.stdout).toMatch(
      /\n {4}got +status GNTST_general_error \(-1, undefined error\)\n {4}hint +GNTST_general_error: reference \d+ of domain \d is GTF_permit_access\|GTF_sub_page [^\n]+; a part of a page can be copied, not mapped\n/,
    );
  });

  test('replays event channels', async (context) => {
    const send = gunzipSync(vector('e_send_2l_64', 'evtchn')).toString('utf8');
    const folder = folderWith(context, {
      'send.jsonl': bytes(send),
      'random.jsonl.gz': vector('r_fifo_00', 'evtchn'),
      'forged.jsonl': bytes(
        send.replace(
          '"op":"send","args":{"port":1},"rc":0',
          '"op":"send","args":{"port":1},"rc":-22',
        ),
      ),
    });
    const good = await ringside(folder, 'replay', 'evtchn', 'send.jsonl', 'random.jsonl.gz');
    expect(good).toMatchObject({ exitCode: 0, stderr: '' });
    expect(good.stdout).toMatch(/\nsend\.jsonl +1 +210 +181 +0 +[^\n]+\nrandom\.jsonl\.gz +25 +/);

    const bad = await ringside(folder, 'replay', 'evtchn', 'forged.jsonl');
    expect(bad).toMatchObject({ exitCode: 1, stderr: 'ringside: 1 mismatch in 1 of 1 file\n' });
    expect(bad.stdout).toMatch(
      /\nforged\.jsonl:\d+: e_send_2l_64, step \d+: domain \d send[^\n]*\n {2}args {2}port 1\n {2}result\n {4}expected {2}-EINVAL \(-22\)\n {4}got {7}0\n$/,
    );
  });

  test.for<[string, number, string]>([
    ['replay', 2, 'no command; commands: gnttab, evtchn; see ringside replay --help'],
    ['replay gnttb', 2, "unknown command 'gnttb' (Did you mean gnttab?); commands: gnttab, evtchn"],
    ['replay gnttab', 2, "missing required argument 'file'"],
    ['replay gnttab --abi arm swap.jsonl', 2, 'Allowed choices are x86_64, i386.'],
    ['replay gnttab --differences none swap.jsonl', 2, 'Allowed: a whole number from 1'],
    ['replay gnttab swap.jsonl nothing.jsonl', 1, 'nothing.jsonl: no such file or directory'],
    ['replay gnttab .', 1, '.: is a directory'],
    ['replay gnttab text.jsonl', 1, 'text.jsonl: line 1: not JSON lines: one object a line'],
    ['replay gnttab other.jsonl', 1, 'other.jsonl: line 1: not a recording of grant tables'],
    ['replay gnttab format.jsonl', 1, 'format.jsonl: line 1.format: 1 expected, not 2'],
    ['replay gnttab arm.jsonl', 1, 'arm.jsonl: line 1.arch: x86_64 expected, not "arm64"'],
    [
      'replay gnttab huge.jsonl',
      1,
      'huge.jsonl: line 1.domains[0].frames: a whole number from 1 to 65536 expected, not 99999999999999',
    ],
    ['replay gnttab cut.jsonl', 1, 'cut.jsonl: line '],
    ['replay evtchn', 2, "missing required argument 'file'"],
    ['replay evtchn swap.jsonl', 1, 'swap.jsonl: line 1: unknown field format'],
    ['replay evtchn --abi i386 swap.jsonl', 2, "unknown option '--abi'"],
    ['replay gnttab empty.jsonl', 1, 'empty.jsonl: line 1: the recording is empty'],
    ['replay gnttab damaged.jsonl.gz', 1, 'damaged.jsonl.gz: the gzip file is damaged'],
  ])('%s ends with %i', async ([words, exitCode, sentence], context) => {
    const ended = await ringside(folderWith(context, files), ...words.split(' '));
    expect(ended).toMatchObject({ exitCode, stdout: '' });
    expect(ended.stderr).toMatch(/^ringside: [^\n]+\n$/);
    expect(ended.stderr).toContain(sentence);
  });
});
