import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

interface Message {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

const PROGRAMS = ['chromium', 'chromium-browser', 'google-chrome'];
const PAGE_TIMEOUT_MS = 90_000;

/** A headless Chromium, spoken to by its own protocol over two pipes: nothing to install but the browser itself. */
export class Chromium implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #answers = new Map<number, (message: Message) => void>();
  #lastId = 0;
  #session = '';

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
    let text = '';
    (process.stdio[4] as Readable).setEncoding('utf8').on('data', (part: string) => {
      const messages = (text + part).split('\0');
      text = messages.pop()!;
      for (const json of messages) {
        const message = JSON.parse(json) as Message;
        if (message.id !== undefined) this.#answers.get(message.id)?.(message);
      }
    });
  }

  /** @throws where none is on the PATH (or named by `CHROMIUM`) */
  static async start(viewport: { readonly width: number; readonly height: number }): Promise<Chromium> {
    const named = process.env['CHROMIUM'];
    const profile = await mkdtemp(path.join(tmpdir(), 'chromium-'));
    for (const program of named ? [named] : PROGRAMS) {
      const browser = await launch(program, profile);
      if (!browser) continue;
      const chromium = new Chromium(browser, profile);
      await chromium.#openPage(viewport);
      return chromium;
    }
    await rm(profile, { recursive: true, force: true });
    throw new Error(
      `No Chromium on the PATH (${PROGRAMS.join(', ')}), which takes the pictures. Install it, for example with ` +
        '`apt-get install chromium`, or name it by CHROMIUM=/path/to/chromium.',
    );
  }

  async #openPage(viewport: { readonly width: number; readonly height: number }): Promise<void> {
    const { targetId } = await this.#send<{ targetId: string }>('Target.createTarget', {
      url: 'about:blank',
    });
    const { sessionId } = await this.#send<{ sessionId: string }>('Target.attachToTarget', {
      targetId,
      flatten: true,
    });
    this.#session = sessionId;
    await this.#send('Emulation.setDeviceMetricsOverride', {
      ...viewport,
      deviceScaleFactor: 1,
      mobile: false,
    });
  }

  async open(url: string): Promise<void> {
    await this.#send('Page.navigate', { url });
  }

  /** Waits until an expression in the page is truthy. @returns its value */
  async until<T>(expression: string, what: string): Promise<T> {
    const deadline = Date.now() + PAGE_TIMEOUT_MS;
    for (;;) {
      const value = await this.evaluate<T>(expression).catch(() => undefined);
      if (value) return value;
      if (Date.now() > deadline)
        throw new Error(
          `${what}: not on the page. It says: ${await this.evaluate<string>('document.body.innerText')}`,
        );
      await delay(200);
    }
  }

  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.#send<{
      result: { value: T };
      exceptionDetails?: { text: string };
    }>('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.text);
    return result.value;
  }

  /** @returns a PNG of a part of the page */
  async picture(clip: Box): Promise<Buffer> {
    const { data } = await this.#send<{ data: string }>('Page.captureScreenshot', {
      format: 'png',
      captureBeyondViewport: true,
      clip: { ...clip, scale: 1 },
    });
    return Buffer.from(data, 'base64');
  }

  #send<T>(method: string, params: object): Promise<T> {
    const id = ++this.#lastId;
    const session = this.#session === '' ? {} : { sessionId: this.#session };
    return new Promise((resolve, reject) => {
      this.#answers.set(id, ({ result, error }) => {
        this.#answers.delete(id);
        if (error) reject(new Error(`${method}: ${error.message}`));
        else resolve(result as T);
      });
      (this.#process.stdio[3] as Writable).write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await gone;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** @returns undefined where there is no such program */
async function launch(program: string, profile: string): Promise<ChildProcess | undefined> {
  const browser = spawn(
    program,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--hide-scrollbars',
      '--remote-debugging-pipe',
      `--user-data-dir=${profile}`,
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  );
  return new Promise((resolve) => {
    browser.once('error', () => resolve(undefined));
    browser.once('spawn', () => resolve(browser));
  });
}
