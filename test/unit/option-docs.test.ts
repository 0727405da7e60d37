import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

// Options as editors show them: read as text, so that none comes without its default.
const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');

const ENTRIES = ['src/index.ts', 'src/worker/index.ts', 'src/dev/index.ts', 'workflows/index.ts'];
const sources = ['src', 'workflows'].flatMap((folder) =>
  readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => read(`${folder}/${path}`)),
);

/** What the package exports under names of options. */
const names = new Set(
  ENTRIES.flatMap((path) =>
    [...read(path).matchAll(/\b\w+(?:Options|Priority|Policy)\b/g)].map(([name]) => name),
  ),
);

interface Option {
  readonly name: string;
  readonly doc: string;
}

/** The optional members of an exported interface, with the comments above them. */
function optionalOf(name: string): Option[] {
  const body = sources
    .map((text) => new RegExp(`^export interface ${name}\\b[^{]*\\{\\n(.*?)^\\}`, 'ms').exec(text)?.[1])
    .find((found) => found !== undefined);
  const members = (body ?? '').matchAll(
    /((?: {2}\/\*\*(?:(?!\*\/).)*\*\/\n)?)(?: {2}\/\/[^\n]*\n)* {2}readonly (\w+)\?:/gs,
  );
  return [...members].map(([, doc, member]) => ({ name: `${name}.${member}`, doc: doc! }));
}

const options = [...names].flatMap(optionalOf);

test('every optional option that the package exports says its default', () => {
  expect(options.filter(({ doc }) => !doc.includes('@default')).map(({ name }) => name)).toEqual([]);
});

test('are found in all entries of the package', () => {
  const found = options.map(({ name }) => name);
  for (const name of [
    'BatchOptions.priority',
    'BatchPolicyOptions.deadline',
    'BatchPriority.fairnessKey',
    'BatchWorkerOptions.hungProcessTimeout',
    'EachResultOptions.pageSize',
    'ExecuteBatchOptions.taskQueue',
    'JobOptions.storeResult',
    'ListOptions.status',
  ])
    expect(found).toContain(name);
});
