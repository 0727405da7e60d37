/** What a command gets from the process that runs it, so that tests can stand in for the process. */
export interface CliContext {
  readonly stdout: CliOutput;
  readonly stderr: CliOutput;
  readonly env: NodeJS.ProcessEnv;
  /**
   * Called once by a command that stays. The signal aborts when the process is asked to end; without the call,
   * signals keep their usual effect.
   */
  readonly shutdownSignal?: () => AbortSignal;
}

/** Where text goes; every writable stream fits. */
export interface CliOutput {
  write(text: string): unknown;
  /** Whether a person watches: then it is a stream of `node:tty`. */
  readonly isTTY?: boolean;
}
