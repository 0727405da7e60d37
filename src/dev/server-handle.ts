import { DevServerError } from './errors.ts';
import type { ServerProcess } from './server-process.ts';

/** A server that development code talks to: started by this module, or found through the environment. */
export interface ServerHandle extends AsyncDisposable {
  /** `host:port` of the server. */
  readonly address: string;
  /** Process id of the running server; `undefined` while it is down and for a server that was not started here. */
  readonly pid: number | undefined;
  /**
   * Sends a signal to the server and waits until its process has ended, as a fault test needs it.
   *
   * @param signal - one that ends the server; `'SIGKILL'` unless told
   * @throws {@link DevServerError} for a server that was not started here
   */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /**
   * Stops the server where it still runs, starts it again on the same port and data, and resolves once it answers.
   *
   * @throws {@link DevServerError} for a server that was not started here, after `stop()`, or when it does not come up
   */
  restart(): Promise<void>;
  /** Stops the server and removes its temporary data. Safe to call twice; leaves alone what was not started here. */
  stop(): Promise<void>;
}

/** A {@link ServerHandle} for a child process of this one. */
export class LocalServer implements ServerHandle {
  readonly address: string;
  readonly #process: ServerProcess;
  readonly #cleanUp: () => Promise<void>;
  #stopping: Promise<void> | undefined;

  constructor(address: string, process: ServerProcess, cleanUp: () => Promise<void> = async () => {}) {
    this.address = address;
    this.#process = process;
    this.#cleanUp = cleanUp;
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return this.#process.kill(signal);
  }

  async restart(): Promise<void> {
    if (this.#stopping !== undefined) {
      throw new DevServerError(
        `Cannot restart the server at ${this.address}: it was stopped, and its data may be gone. Start a new one.`,
      );
    }
    await this.#process.stop();
    await this.#process.start();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#process.stop().then(this.#cleanUp);
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** A {@link ServerHandle} for a server that somebody else runs. */
export class ExternalServer implements ServerHandle {
  readonly address: string;
  readonly pid = undefined;
  readonly #variable: string;

  /** @param variable - the environment variable that names the server */
  constructor(address: string, variable: string) {
    this.address = address;
    this.#variable = variable;
  }

  kill(): Promise<void> {
    return Promise.reject(this.#refusal('kill'));
  }

  restart(): Promise<void> {
    return Promise.reject(this.#refusal('restart'));
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #refusal(action: string): DevServerError {
    return new DevServerError(
      `Cannot ${action} the server at ${this.address}: it comes from ${this.#variable} and was not started here. ` +
        `Unset ${this.#variable} to get one that can be.`,
    );
  }
}
