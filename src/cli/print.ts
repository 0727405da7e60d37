import type { CliContext } from './context.ts';

/** Writes what a command found: text for people, or one line of JSON for programs. */
export function print(
  context: CliContext,
  flags: { readonly json?: true },
  text: string,
  json: object,
): void {
  context.stdout.write(flags.json ? `${JSON.stringify(json)}\n` : text);
}
