import { readFileSync } from 'node:fs';
import type { Transition } from './state-walk.ts';

/** A diagram of docs/states.md. */
export interface Diagram {
  readonly states: readonly string[];
  readonly transitions: readonly Transition[];
  /** What notes say of a state: the events that it fires. */
  readonly fires: Readonly<Record<string, readonly string[]>>;
  /** Lines that are none of these. */
  readonly unread: readonly string[];
}

const PAGE = readFileSync(new URL('../../docs/states.md', import.meta.url), 'utf8');

/** The diagram under a heading. */
export function diagramOf(heading: string): Diagram {
  const section = PAGE.split(/^## /m).find((text) => text.startsWith(`${heading}\n`));
  const source = section && /^```mermaid\nstateDiagram-v2\n(.*?)^```$/ms.exec(section)?.[1];
  if (!source) throw new Error(`docs/states.md has no state diagram under "${heading}".`);
  const transitions: Transition[] = [];
  const fires: Record<string, string[]> = {};
  const unread: string[] = [];
  for (const line of source.trimEnd().split('\n')) {
    const arrow = /^ {2}(\S+) --> (\S+): (.+)$/.exec(line);
    const note = /^ {2}note right of (\w+): fires (.+)$/.exec(line);
    if (arrow) {
      const [, from, to, events] = arrow as unknown as [string, string, string, string];
      transitions.push(...events.split(', ').map((event) => ({ from, to, event })));
    } else if (note) fires[note[1]!] = note[2]!.split(', ');
    else unread.push(line);
  }
  const states = new Set(transitions.flatMap(({ from, to }) => [from, to]));
  states.delete('[*]');
  return { states: [...states].sort(), transitions, fires, unread };
}

/** Arrows as the diagrams write them, those between the same two states in one. */
export function asLines(transitions: readonly Transition[]): string[] {
  const events = new Map<string, string[]>();
  for (const { from, to, event } of transitions) {
    const arrow = `${from} --> ${to}`;
    events.set(arrow, [...(events.get(arrow) ?? []), event]);
  }
  return [...events].map(([arrow, names]) => `${arrow}: ${names.sort().join(', ')}`).sort();
}

/** Those of the first that the second lacks. */
export function missingFrom(transitions: readonly Transition[], others: readonly Transition[]): string[] {
  const known = new Set(others.flatMap((transition) => asLines([transition])));
  return asLines(transitions.filter((transition) => !known.has(asLines([transition])[0]!)));
}
