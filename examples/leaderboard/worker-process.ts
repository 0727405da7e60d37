import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { execaNode } from 'execa';
import { toEnvironment, type WorkerSettings } from './settings.ts';

// As this file: TypeScript, or compiled.
const WORKER_FILE = fileURLToPath(new URL(`worker${path.extname(import.meta.url)}`, import.meta.url));
const FORCE_KILL_AFTER_MS = 3_000;

/** The demo's worker: a child process that can be killed and started again. */
export class WorkerProcess {
  readonly #settings: WorkerSettings;
  readonly #onLine: (line: string) => void;
  #child: Child | undefined;
  #reportCrash!: (error: Error) => void;
  /** Rejects when a process ends without having been told to. Never resolves. */
  readonly crashed = new Promise<never>((_resolve, reject) => {
    this.#reportCrash = reject;
  });

  /** @param onLine receives what the process says, which is only what went wrong */
  constructor(settings: WorkerSettings, onLine: (line: string) => void) {
    this.#settings = settings;
    this.#onLine = onLine;
    // Whoever waits for it sees the error; nobody has to.
    this.crashed.catch(() => {});
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts a process, and resolves when it takes work. */
  async start(): Promise<void> {
    const child = spawn(this.#settings, this.#onLine);
    this.#child = child;
    void child.ended.then((how) => {
      // Told to end, it is the current one no more.
      if (this.#child === child) this.#reportCrash(new Error(`The worker process ended by itself: ${how}`));
    });
    await Promise.race([child.ready, this.crashed]);
  }

  /** SIGKILL: no handler runs, nothing is said to Temporal or to Postgres. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** Asks the process to end, and forces it after a while. Safe to call twice. */
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    child?.signal(signal);
    await child?.ended;
  }
}

interface Child {
  readonly pid: number | undefined;
  readonly ready: Promise<void>;
  /** How it ended. */
  readonly ended: Promise<string>;
  signal(signal: NodeJS.Signals): void;
}

function spawn(settings: WorkerSettings, onLine: (line: string) => void): Child {
  const child = execaNode(WORKER_FILE, {
    // As this process was started, so that TypeScript is understood there too.
    nodeOptions: process.execArgv,
    env: toEnvironment(settings),
    // Says when the worker is ready, and by its end that this process is gone.
    ipc: true,
    stdin: 'ignore',
    stdout: 'ignore',
    buffer: false,
    reject: false,
    forceKillAfterDelay: FORCE_KILL_AFTER_MS,
  });
  void forwardLines(child.iterable({ from: 'stderr' }), onLine);
  return {
    pid: child.pid,
    ready: new Promise((resolve) => {
      child.once('message', () => resolve());
    }),
    ended: child.then(({ shortMessage }) => shortMessage ?? 'exit code 0'),
    signal: (signal) => void child.kill(signal),
  };
}

async function forwardLines(lines: AsyncIterable<string>, onLine: (line: string) => void): Promise<void> {
  try {
    for await (const line of lines) onLine(line);
  } catch {
    // The process was ended while it spoke.
  }
}
