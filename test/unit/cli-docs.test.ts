import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';

// docs/cli.md says what --help says: read as text, so that the page cannot rot.
const page = readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8');
const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.split('\n')[0]!, section] as const),
);

const program = buildProgram({ stdout: { write: () => {} }, stderr: { write: () => {} }, env: {} });
const commands = program
  .createHelp()
  .visibleCommands(program)
  .filter((command) => command.name() !== 'help');

async function helpOf(name: string): Promise<string> {
  let text = '';
  const stdout = { write: (part: string) => (text += part) };
  await exitCodeOf(
    () => buildProgram({ stdout, stderr: stdout, env: {} }).parseAsync([name, '--help'], { from: 'user' }),
    stdout,
  );
  return text;
}

/** The rows of a section's table of options, without Markdown's escapes. */
function rowsOf(section: string): string[][] {
  return [...section.matchAll(/^\| `(--[^`]*)` +\| (.*) \|$/gm)].map(([, flags, meaning]) => [
    flags!,
    meaning!.trim().replaceAll(/\\(.)/g, '$1'),
  ]);
}

function optionsOf(command: Command): string[][] {
  const help = command.createHelp();
  return help
    .visibleOptions(command)
    .filter(({ long }) => long !== '--help')
    .map((option) => [option.flags, help.optionDescription(option)]);
}

const flat = (text: string) => text.replaceAll(/\s+/g, ' ');

test('docs/cli.md has a section for every command, and for no other', () => {
  const general = ['Connections', 'Durations', 'Exit codes', 'Output'];
  expect([...sections.keys()].filter((title) => !general.includes(title)).sort()).toEqual(
    commands.map((command) => command.name()).sort(),
  );
});

describe.each(commands.map((command) => ({ name: command.name(), command })))(
  'docs/cli.md about $name',
  ({ name, command }) => {
    const section = sections.get(name) ?? '';

    test('has every option with the meaning that the help gives it, and how it is called', () => {
      expect(rowsOf(section)).toEqual(optionsOf(command));
      expect(section).toContain(`Usage: \`batch-jobs ${name} ${command.usage()}\``);
      expect(flat(section)).toContain(flat(command.description()));
    });

    test('has the exit codes and the examples of the help', async () => {
      const help = await helpOf(name);
      const codes = flat(/^Exit code: (.*?)\n\n/ms.exec(help)![1]!).replace(/ docs\/.*$/, '');
      expect(flat(section)).toContain(`Exit code: ${codes}`);
      const examples = [...help.matchAll(/^ {2}\$ (.*)$/gm)].map(([, example]) => example!);
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) expect(section).toContain(example);
    });
  },
);
