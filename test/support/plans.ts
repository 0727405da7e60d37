import type { Knex } from 'knex';

/** A node of a plan as Postgres explains it. */
interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly Plans?: readonly PlanNode[];
}

/** How a query reads a table: by these indexes, or by none. */
export interface TableReads {
  readonly indexes: readonly string[];
  readonly sequentially: boolean;
}

/** How a query's plan reads a table of the library; undefined where it does not. */
export async function readsOf(
  knex: Knex,
  table: string,
  sql: string,
  bindings: readonly Knex.Value[] = [],
): Promise<TableReads | undefined> {
  const nodes = await explain(knex, sql, bindings);
  // The nodes below a bitmap heap scan name their index and no table.
  const indexes = nodes
    .map((node) => node['Index Name'])
    .filter((name) => name !== undefined)
    .filter((name) => name.startsWith(`${table}_`));
  const scans = nodes.filter((node) => node['Relation Name'] === table);
  if (scans.length === 0) return undefined;
  return {
    indexes: [...new Set(indexes)].sort(),
    sequentially: scans.some((node) => node['Node Type'].includes('Seq Scan')),
  };
}

/** The kinds of nodes in a query's plan. */
export async function nodeTypesOf(knex: Knex, sql: string): Promise<string[]> {
  return (await explain(knex, sql)).map((node) => node['Node Type']);
}

async function explain(knex: Knex, sql: string, bindings: readonly Knex.Value[] = []): Promise<PlanNode[]> {
  const { rows } = await knex.raw(`explain (format json) ${sql}`, bindings);
  return flatten(rows[0]['QUERY PLAN'][0].Plan);
}

function flatten(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)];
}
