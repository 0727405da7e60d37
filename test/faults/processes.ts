import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { compiledScript } from '../support/processes.ts';
import { toEnvironment, type RoundSettings } from './settings.ts';

/** A child process with its output in a file. */
export interface Child {
  readonly pid: number;
  /** Resolves once it can do its work; rejects when it ends before. */
  readonly ready: Promise<void>;
  /** Resolves once it is gone. */
  readonly exited: Promise<void>;
  readonly hasExited: () => boolean;
  /** Whether SIGKILL ended it. */
  readonly wasKilled: () => boolean;
  signal(signal: NodeJS.Signals): void;
}

const children = new Set<ChildProcess>();
let isOver = false;

/** Starts a script of this folder. */
export function spawn(
  script: string,
  settings: RoundSettings,
  logName: string,
  nodeFlags: readonly string[] = [],
): Child {
  const log = openSync(path.join(settings.folder, `${logName}.log`), 'a');
  const child = fork(compiledScript(`test/faults/${script}`), {
    execArgv: [...nodeFlags],
    env: { ...process.env, ...toEnvironment(settings) },
    stdio: ['ignore', log, log, 'ipc'],
  });
  closeSync(log);
  children.add(child);
  let hasExited = false;
  const exited = once(child, 'exit').then(() => {
    hasExited = true;
    children.delete(child);
  });
  const ready = new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve());
    void exited.then(() => reject(new Error(`${logName} ended before it was ready; see ${settings.folder}`)));
  });
  // Nobody may be waiting for it.
  ready.catch(() => {});
  return {
    pid: child.pid!,
    ready,
    exited,
    hasExited: () => hasExited,
    wasKilled: () => child.signalCode === 'SIGKILL',
    signal: (signal) => void child.kill(signal),
  };
}

/** Kills every process that was started here and still runs, also paused ones. Workers are not started again. */
export async function killAllChildren(): Promise<void> {
  isOver = true;
  await Promise.all(
    [...children].map(async (child) => {
      const exited = once(child, 'exit');
      if (child.kill('SIGKILL')) await exited;
    }),
  );
}

/** A worker's place: its process is started again whenever it ends, as a process manager would. */
export class SupervisedWorker {
  readonly #start: () => Child;
  readonly #restartMs: number;
  readonly #supervised: Promise<void>;
  #child: Child;
  #isOver = false;
  /** Processes that were killed before the round was over, by a fault or by a callback. */
  kills = 0;

  constructor(start: () => Child, restartMs: number) {
    this.#start = start;
    this.#restartMs = restartMs;
    this.#child = start();
    this.#supervised = this.#supervise();
  }

  /** The process that runs, or the last one that did. */
  get child(): Child {
    return this.#child;
  }

  /** Asks the process to end, and kills it after `timeoutMs`. @returns whether it ended by itself */
  async stop(timeoutMs: number): Promise<boolean> {
    this.#isOver = true;
    const child = this.#child;
    // One that is paused would not hear of it.
    child.signal('SIGCONT');
    child.signal('SIGTERM');
    const timer = new AbortController();
    const isInTime = await Promise.race([
      child.exited.then(() => true),
      delay(timeoutMs, false, { signal: timer.signal }).catch(() => true),
    ]);
    timer.abort();
    if (!isInTime) child.signal('SIGKILL');
    await this.#supervised;
    return isInTime;
  }

  async #supervise(): Promise<void> {
    for (;;) {
      await this.#child.exited;
      if (this.#isOver) return;
      if (this.#child.wasKilled()) this.kills++;
      await delay(this.#restartMs);
      if (this.#isOver || isOver) return;
      this.#child = this.#start();
    }
  }
}
