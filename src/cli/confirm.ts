import { createInterface } from 'node:readline';
import type { CliContext } from './context.ts';
import { FoundWantingError, UsageError } from './exit-code.ts';

interface ConfirmFlags {
  readonly yes?: true;
}

/**
 * Called before anything else: a script that forgot `--yes` should not depend on servers to hear of it.
 *
 * @throws {@link UsageError} where nobody can be asked
 */
export function assertConfirmable({ stdin, stderr }: CliContext, { yes }: ConfirmFlags): void {
  if (yes || (stdin?.isTTY && stderr.isTTY)) return;
  throw new UsageError('This changes something, and there is no terminal to ask on. Add --yes.');
}

/**
 * Asks a person, unless `--yes` has answered.
 *
 * @throws {@link FoundWantingError} for anything but yes
 */
export async function confirm(context: CliContext, { yes }: ConfirmFlags, question: string): Promise<void> {
  if (yes) return;
  context.stderr.write(`${question} [y/N] `);
  if (/^y(es)?$/i.test((await readLine(context)).trim())) return;
  context.stderr.write('Nothing was changed.\n');
  throw new FoundWantingError();
}

/** What was typed; nothing when the input ended. */
async function readLine({ stdin, stderr }: CliContext): Promise<string> {
  // Not as a terminal: then Ctrl-C would be a key that readline reads, and no signal.
  const lines = createInterface({ input: stdin!, terminal: false });
  try {
    for await (const line of lines) return line;
    stderr.write('\n');
    return '';
  } finally {
    lines.close();
  }
}
