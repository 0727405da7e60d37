import { readdirSync, readFileSync } from 'node:fs';

// The public interfaces and classes with their TSDoc, read as text: enough for the way in which this project writes
// them, and without a compiler.
const root = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');

/** Sources of what apps import. Of the others, an app that wires them itself sees the types. */
const ENTRIES = Object.values(
  (JSON.parse(read('package.json')) as { exports: Record<string, string> }).exports,
)
  .filter((target) => target.endsWith('.js') && !/\/(activities|migrations)\//.test(target))
  .map((target) => target.replace('./dist/', '').replace(/\.js$/, '.ts'));

const sources = ['src', 'workflows', 'activities'].flatMap((folder) =>
  readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => read(`${folder}/${path}`)),
);

export interface Member {
  readonly name: string;
  readonly isOptional: boolean;
  /** Of a property its type, of a method its signature. */
  readonly type: string;
  /** What its comment says, without tags. */
  readonly meaning: string;
  readonly defaultValue: string | undefined;
}

/** What the export lists of the package name. */
export function exportedNames(): { readonly name: string; readonly isType: boolean }[] {
  return ENTRIES.flatMap((entry) => [...read(entry).matchAll(/export (type )?\{([^}]*)\}/g)]).flatMap(
    ([, allTypes, list]) =>
      list!
        .split(',')
        .map((item) => item.trim())
        .filter((item) => item !== '')
        .map((item) => ({
          name: item.replace(/^type /, ''),
          isType: allTypes !== undefined || item.startsWith('type '),
        })),
  );
}

/** The members of an exported interface or class that are not internal; undefined where there is none of the name. */
export function membersOf(name: string): Member[] | undefined {
  const declaration = new RegExp(
    `^export (interface|class) ${name}\\b[^{]*(?:<[^]*?>)?[^{]*\\{\\n([^]*?)^\\}`,
    'm',
  );
  for (const text of sources) {
    const found = declaration.exec(text);
    if (found) return withoutOverloads(parseBody(found[2]!));
  }
  return undefined;
}

function parseBody(body: string): Member[] {
  const pattern =
    /(?:^ {2}\/\*\*(?<doc>(?:(?!\*\/)[^])*)\*\/\n)?(?:^ {2}\/\/.*\n)*^ {2}(?<code>(?:readonly |get |async )*\w+[?!]?[(<:](?:(?!\n {2}[^\s)])[^])*?)(?:;| \{)$/gm;
  return [...body.matchAll(pattern)].flatMap(({ groups }) => {
    const { doc = '', code } = groups as { doc?: string; code: string };
    const member = toMember(doc, code.replaceAll(/\s+/g, ' '));
    return member ? [member] : [];
  });
}

function toMember(comment: string, code: string): Member | undefined {
  const [, modifiers, name, optional, rest] = /^((?:readonly |get |async )*)(\w+)(\??)(.*)$/.exec(code)!;
  const [text, ...tags] = comment
    .replaceAll(/^ *\* ?/gm, '')
    .replaceAll(/\s+/g, ' ')
    .replaceAll(/\{@link (\w+)\}/g, '`$1`')
    .split(/ ?@(?=(?:default|returns|throws|example|internal|param)\b)/)
    .map((part) => part.trim());
  if (name === 'constructor' || tags.some((tag) => tag.startsWith('internal'))) return undefined;
  const valueOf = (tag: string) =>
    tags.filter((one) => one.startsWith(`${tag} `)).map((one) => one.slice(tag.length + 1));
  const throws = valueOf('throws');
  const sentences = [
    text!,
    ...valueOf('returns').map((returns) => `Returns ${returns}.`),
    throws.length === 0 ? '' : `Throws ${throws.join(', ')}.`,
  ];
  return {
    name: name!,
    isOptional: optional === '?',
    type: modifiers!.includes('get ') ? rest!.replace(/^\(\): /, '') : rest!.replace(/^: /, ''),
    meaning: sentences
      .filter((sentence) => sentence !== '')
      .join(' ')
      .replaceAll('..', '.'),
    defaultValue: valueOf('default')[0],
  };
}

/** Of several signatures the first. */
function withoutOverloads(members: readonly Member[]): Member[] {
  return [...new Map(members.toReversed().map((member) => [member.name, member])).values()].toReversed();
}
