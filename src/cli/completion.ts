import type { Command, Option } from 'commander';

export interface Candidate {
  readonly value: string;
  readonly description: string;
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/**
 * What may stand in place of the last word of a command line. Our own, because libraries for it write to the process's
 * standard output; and one function for all shells, whose scripts only ask it.
 *
 * @param words - those after the program's name, the last one as far as it was typed
 */
export function completionsOf(program: Command, words: readonly string[]): Candidate[] {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  return candidatesFor(program, before, typed).filter(({ value }) => value.startsWith(typed));
}

function candidatesFor(program: Command, before: readonly string[], typed: string): Candidate[] {
  const command = program.commands.find((one) => before.includes(one.name()));
  if (!command) return typed.startsWith('-') ? optionsOf(program) : commandsOf(program);
  const option = optionInUse(command, before);
  const isNext = option !== undefined && option.long === before.at(-1);
  if (option && (isNext || !typed.startsWith('-'))) return choices(option.argChoices, option.description);
  if (typed.startsWith('-')) return optionsOf(command);
  return command.registeredArguments.flatMap((one) => choices(one.argChoices, one.description));
}

/** The option whose value comes next. One that takes several goes on until the next option. */
function optionInUse(command: Command, before: readonly string[]): Option | undefined {
  const index = before.findLastIndex((word) => word.startsWith('-'));
  const option = command.options.find(({ long }) => long === before[index]);
  if (!option?.required) return undefined;
  return option.variadic || index === before.length - 1 ? option : undefined;
}

function commandsOf(program: Command): Candidate[] {
  return program
    .createHelp()
    .visibleCommands(program)
    .map((command) => ({ value: command.name(), description: command.summary() || command.description() }));
}

function optionsOf(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, description }) => ({ value: long ?? '', description }));
}

function choices(values: readonly string[] | undefined, description: string): Candidate[] {
  return (values ?? []).map((value) => ({ value, description }));
}

/** The script that a shell reads once, and that asks the program at each Tab. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell];
}

const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `_batch_jobs() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <(batch-jobs __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _batch_jobs batch-jobs
`,
  zsh: `#compdef batch-jobs
_batch_jobs() {
  local -a candidates
  local line
  for line in "\${(@f)$(batch-jobs __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] && candidates+=("\${line%%$'\\t'*}:\${line#*$'\\t'}")
  done
  if (( \${#candidates} )); then
    _describe 'batch-jobs' candidates
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_batch_jobs" ]; then
  _batch_jobs "$@"
else
  compdef _batch_jobs batch-jobs
fi
`,
  fish: `function __batch_jobs_complete
    set -l before (commandline -opc)
    set -l typed (commandline -ct)
    batch-jobs __complete -- $before[2..-1] "$typed" 2>/dev/null
end
complete -c batch-jobs -f -a '(__batch_jobs_complete)'
`,
};
