import { Argument, Command } from 'commander';
import { completionScript, completionsOf, SHELLS, type Shell } from '../completion.ts';
import type { CliContext } from '../context.ts';

/** `batch-jobs completion`: the script that makes a shell complete our commands and options. */
export function completionCommand(context: CliContext): Command {
  return new Command('completion')
    .summary('print a completion script for a shell')
    .description(
      'Prints a script that lets a shell complete commands, options and their values. It needs batch-jobs on the PATH.',
    )
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText(
      'after',
      '\nExit code: 0, or 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs completion bash >> ~/.bashrc' +
        '\n  $ batch-jobs completion zsh > "${fpath[1]}/_batch-jobs"' +
        '\n  $ batch-jobs completion fish > ~/.config/fish/completions/batch-jobs.fish',
    )
    .action((shell: Shell) => void context.stdout.write(completionScript(shell)));
}

/** What the scripts ask: a line a candidate, with its description after a tab. */
export function completeCommand(context: CliContext, program: Command): Command {
  return new Command('__complete').argument('[words...]').action((words: string[]) => {
    for (const { value, description } of completionsOf(program, words)) {
      context.stdout.write(`${value}\t${description.replaceAll(/\s+/g, ' ')}\n`);
    }
  });
}
