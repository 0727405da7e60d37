import { readFile } from 'node:fs/promises';

export interface DashboardPanel {
  readonly id: number;
  readonly title: string;
  readonly type: string;
  readonly datasource?: unknown;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly {
    readonly datasource: unknown;
    readonly format: 'table' | 'time_series';
    readonly rawSql: string;
  }[];
  readonly fieldConfig?: {
    readonly overrides: readonly { readonly matcher: { readonly id: string; readonly options: string } }[];
  };
}

export interface DashboardVariable {
  readonly name: string;
  readonly type: 'custom' | 'datasource' | 'query';
  readonly query: string;
  readonly current: { readonly value?: string };
}

export interface Dashboard {
  readonly uid: string;
  readonly panels: readonly DashboardPanel[];
  readonly templating: { readonly list: readonly DashboardVariable[] };
}

export async function readDashboard(): Promise<Dashboard> {
  const file = new URL('../../docs/grafana/batch-jobs.json', import.meta.url);
  return JSON.parse(await readFile(file, 'utf8')) as Dashboard;
}

/** What a person has chosen in the dashboard. */
export interface DashboardChoice {
  readonly from: Date;
  readonly to: Date;
  readonly variables: Readonly<Record<string, string>>;
}

/** Seconds of `$__interval`, which Grafana derives from the time shown and the width of the panel. */
const INTERVAL_S = 60;

/**
 * A query as Grafana's PostgreSQL data source sends it: variables first, then the macros, in the form of its source
 * (pkg/tsdb/grafana-postgresql-datasource/macros.go).
 *
 * @throws {Error} for a variable or macro that this knows nothing about
 */
export function interpolate(sql: string, { from, to, variables }: DashboardChoice): string {
  const [start, end] = [quote(from.toISOString()), quote(to.toISOString())];
  const text = sql
    .replaceAll('$__interval', `${INTERVAL_S}s`)
    .replaceAll(/\$\{(\w+):sqlstring\}/g, (_all, name: string) => {
      const value = variables[name];
      if (value === undefined) throw new Error(`The dashboard has no variable "${name}".`);
      return quote(value);
    })
    .replaceAll(/\$(__\w+)\(([^)]*)\)/g, (_all, macro: string, list: string) => {
      const [column, interval] = list.split(',').map((argument) => argument.trim());
      switch (macro) {
        case '__timeFrom':
          return start;
        case '__timeTo':
          return end;
        case '__timeFilter':
          return `${column} BETWEEN ${start} AND ${end}`;
        case '__timeGroupAlias':
          if (interval !== `${INTERVAL_S}s`) throw new Error(`"${interval}" is no interval.`);
          return `floor(extract(epoch from ${column})/${INTERVAL_S})*${INTERVAL_S} AS "time"`;
        default:
          throw new Error(`Grafana has no macro "${macro}" for PostgreSQL, or this test does not know it.`);
      }
    });
  const left = /\$[{_a-z]\S*/i.exec(text)?.[0];
  if (left !== undefined)
    throw new Error(`Grafana replaces "${left}" in a way that this test does not know.`);
  return text;
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
