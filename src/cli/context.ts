/** What a command gets from the process that runs it, so that tests can stand in for the process. */
export interface CliContext {
  readonly stdout: CliOutput;
  readonly stderr: CliOutput;
  readonly env: NodeJS.ProcessEnv;
  /** Where a person answers a question; without it nobody is asked. */
  readonly stdin?: CliInput;
  /**
   * Called once by a command that stays. The signal aborts when the process is asked to end; without the call,
   * signals keep their usual effect.
   */
  readonly shutdownSignal?: () => AbortSignal;
}

/** Where answers come from. */
export type CliInput = NodeJS.ReadableStream & { readonly isTTY?: boolean };

/** Where text goes; every writable stream fits. */
export interface CliOutput {
  write(text: string): unknown;
  /** Whether a person watches: then it is a stream of `node:tty`. */
  readonly isTTY?: boolean;
  /** Characters in a line of a terminal. */
  readonly columns?: number;
}
