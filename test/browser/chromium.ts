/** Runs a script in a page of headless Chromium and brings back what it reports. No driver protocol: the page posts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';

/** What a page needs to be cross-origin isolated, and so to have shared memory. */
const ISOLATION = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface Visit {
  /** Path of the browser. */
  readonly chromium: string;
  /** A module that posts its result, as JSON, to `/result`: `{ value }` or `{ error }`. */
  readonly script: string;
  /** Whether the page is cross-origin isolated. */
  readonly isolated: boolean;
  /** Query of the page's address. */
  readonly query: string;
  /** Ends the visit. */
  readonly signal: AbortSignal;
}

/** Resolves with the `value` that the page posted; rejects with its `error`, or if Chromium ends before. */
export async function visit(options: Visit): Promise<unknown> {
  const { chromium, script, isolated, query, signal } = options;
  const page = servePage(script, isolated ? ISOLATION : {});
  page.server.listen(0, 'localhost');
  await once(page.server, 'listening');
  const { port } = page.server.address() as AddressInfo;
  const profile = await mkdtemp(join(tmpdir(), 'ringside-chromium-'));
  const url = `http://localhost:${port}/?${query}`;
  const browser = spawn(chromium, [...FLAGS, `--user-data-dir=${profile}`, url], {
    // Chromium leaves folders of its own in TMPDIR: they go with the profile.
    env: { ...process.env, TMPDIR: profile },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(browser, 'exit');
  signal.addEventListener('abort', () => browser.kill());
  let complaints = '';
  browser.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text));
  try {
    const early = ended.then((): Report => ({ error: `Chromium ended early:\n${complaints}` }));
    const report = await Promise.race([page.report, early]);
    if (report.error !== undefined) throw new Error(report.error);
    return report.value;
  } finally {
    browser.kill();
    await ended;
    page.server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

interface Report {
  readonly value?: unknown;
  readonly error?: string;
}

function servePage(script: string, headers: Record<string, string>) {
  const html =
    '<!doctype html><title>Ringside</title><script type="module" src="/script.js"></script>';
  const { promise: report, resolve } = withResolvers<Report>();
  const answer = (response: ServerResponse, type: string, body: string) =>
    response.writeHead(200, { 'Content-Type': type, ...headers }).end(body);
  const server = createServer((request, response) => {
    const path = request.url!.split('?')[0];
    if (path === '/') answer(response, 'text/html', html);
    else if (path === '/script.js') answer(response, 'text/javascript', script);
    else if (path === '/result' && request.method === 'POST') {
      void json(request).then((body) => resolve(body as Report));
      answer(response, 'text/plain', '');
    } else response.writeHead(404).end();
  });
  return { server, report };
}

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => (resolve = done));
  return { promise, resolve };
}
