import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { DevServerError } from './errors.ts';
import { poll } from './poll.ts';

const RETRY_INTERVAL_MS = 100;
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
/** What a server says first and last: a panic names its reason first, and ends with a long trace. */
const OUTPUT_HEAD_CHARACTERS = 2_000;
const OUTPUT_TAIL_CHARACTERS = 8_000;

/** What it takes to run one server. */
export interface ServerCommand {
  /** Name for messages. */
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly uid?: number;
  readonly gid?: number;
  /** Asks the server to finish what it does and exit. */
  readonly stopSignal: NodeJS.Signals;
  /** Recognises output of a server that exited for a reason which passes by itself; it is then started again. */
  readonly isTransientExit?: (output: string) => boolean;
  /** Resolves once the server does its work; repeated until then. */
  readonly probe: () => Promise<void>;
}

/** One server as a child process, which can be ended and started again. */
export class ServerProcess {
  readonly #command: ServerCommand;
  #running: RunningServer | undefined;

  constructor(command: ServerCommand) {
    this.#command = command;
  }

  get pid(): number | undefined {
    return this.#running?.pid;
  }

  /**
   * Starts the server and waits until it answers.
   *
   * @throws {@link DevServerError} with the end of the server's output, when it exits or does not answer in time
   */
  async start(): Promise<void> {
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const failure = await this.#startOnce(deadline);
      if (failure === undefined) return;
      const isTransient = this.#command.isTransientExit?.(failure.message) ?? false;
      if (!isTransient || Date.now() >= deadline) throw failure;
      await delay(RETRY_INTERVAL_MS);
    }
  }

  async #startOnce(deadline: number): Promise<DevServerError | undefined> {
    const { name, file, probe } = this.#command;
    const running = launch(this.#command);
    this.#running = running;
    void running.exited.then(() => {
      if (this.#running === running) this.#running = undefined;
    });
    try {
      await poll(probe, { deadline, signal: running.exitSignal });
      return undefined;
    } catch (error) {
      const happened = running.exitSignal.aborted
        ? 'exited while it started'
        : `did not answer within ${START_TIMEOUT_MS / 1000} seconds`;
      await this.stop();
      return new DevServerError(`${name} ${happened} (${file}).\n${running.output()}`.trimEnd(), {
        cause: error,
      });
    }
  }

  /** Ends the server with a signal and waits until it has exited. */
  async kill(signal: NodeJS.Signals): Promise<void> {
    const running = this.#running;
    running?.signal(signal);
    await running?.exited;
  }

  /** Asks the server to exit, and forces it after a while. */
  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const force = setTimeout(() => running.signal('SIGKILL'), STOP_TIMEOUT_MS);
    try {
      await this.kill(this.#command.stopSignal);
    } finally {
      clearTimeout(force);
    }
  }
}

interface RunningServer {
  readonly pid: number | undefined;
  readonly exited: Promise<unknown>;
  readonly exitSignal: AbortSignal;
  output(): string;
  signal(signal: NodeJS.Signals): void;
}

function launch(command: ServerCommand): RunningServer {
  const child = execa(command.file, command.args, {
    // Ends the server when this process ends, also by SIGINT or SIGTERM.
    cleanup: true,
    env: command.env,
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    // Servers run for hours: only the beginning and the end of what they say are kept.
    buffer: false,
    reject: false,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    ...(command.uid === undefined ? {} : { uid: command.uid }),
    ...(command.gid === undefined ? {} : { gid: command.gid }),
  });
  let head = '';
  let tail = '';
  let length = 0;
  child.all.setEncoding('utf8').on('data', (text: string) => {
    length += text.length;
    const room = OUTPUT_HEAD_CHARACTERS - head.length;
    head += text.slice(0, room);
    tail = (tail + text.slice(room)).slice(-OUTPUT_TAIL_CHARACTERS);
  });
  const exit = new AbortController();
  const exited = child.then((result) => {
    if (result.failed && result.exitCode === undefined && result.signal === undefined) {
      tail += result.shortMessage;
    }
    exit.abort(new DevServerError(`${command.name} exited: ${result.shortMessage ?? 'code 0'}`));
  });
  return {
    pid: child.pid,
    exited,
    exitSignal: exit.signal,
    output: () => (head + (length > head.length + tail.length ? '\n...\n' : '') + tail).trim(),
    signal: (signal) => void child.kill(signal),
  };
}
