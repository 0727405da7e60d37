import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { markComplete } from '../src/database/chunks.ts';
import { openDatabase } from '../src/database/connect.ts';
import { insertJobs } from '../src/database/enroll.ts';
import type { Environment } from './environment.ts';
import { checkCount, chunks, rateSince, type Rival, type Way } from './rivals/rival.ts';

const STATEMENT_ROWS = 1_000;
const COPY_ROWS = 1_000;
const COPY_CONNECTIONS = 2;
const COPY_TABLE = 'raw_jobs';

/** The library's own statements and nothing else, one after the other. */
export function rawStatements({ knex, schema }: Environment): Way {
  const database = openDatabase(knex, { schema });
  const id = 'raw';
  return {
    name: "rows alone: the library's statements",
    settings: { rows: STATEMENT_ROWS },

    async measure(jobs) {
      await knex
        .withSchema(schema)
        .insert({ id, first_execution_run_id: id, description: id })
        .into('batches');
      const startedAt = performance.now();
      for (const { first, count } of chunks(jobs, STATEMENT_ROWS)) {
        const rows = Array.from(
          { length: count },
          (_, n) => ['Noop', `[${first + n}]`, null, null, null] as const,
        );
        await insertJobs(database, id, first + 1, rows);
      }
      let completed = 0;
      for (const { first, count } of chunks(jobs, STATEMENT_ROWS)) {
        const now = Date.now();
        const rows = Array.from({ length: count }, (_, n) => ({
          position: first + n + 1,
          startedAt: now,
          finishedAt: now,
        }));
        completed += await markComplete(database, { batchId: id, round: 1 }, rows);
      }
      const rate = rateSince(startedAt, jobs);
      checkCount(completed, jobs);
      await knex.withSchema(schema).from('batches').where({ id }).delete();
      return rate;
    },
  };
}

/**
 * The fastest way that we know: COPY and one update by range, on connections side by side.
 *
 * The table has the columns, the primary key and the fillfactor of `batch_jobs`, and none of its checks and not
 * its other index. It is an ordinary one: an unlogged table would be faster, and lost in a crash.
 */
export async function openRawCopy({ databaseUrl, knex, schema }: Environment): Promise<Rival> {
  await knex.raw(
    `create table :table: (like :jobs: including defaults, primary key (batch_id, position)) with (fillfactor = 45)`,
    { table: `${schema}.${COPY_TABLE}`, jobs: `${schema}.batch_jobs` },
  );
  const clients = Array.from({ length: COPY_CONNECTIONS }, () => new Client(databaseUrl));
  await Promise.all(clients.map((client) => client.connect()));
  const table = `${schema}.${COPY_TABLE}`;

  const writeShare = async (client: Client, first: number, last: number): Promise<number> => {
    await pipeline(
      Readable.from(copyText(first, last)),
      client.query(copyFrom(`copy ${table} (batch_id, position, jid, worker_class, args) from stdin`)),
    );
    // Nearly all HOT: no indexed column changes, and a page has room for its rows with the two times more.
    const { rowCount } = await client.query(
      `update ${table}
       set status = 'complete', attempts = attempts + 1, started_at = now(), finished_at = now(), updated_at = now()
       where batch_id = 'raw' and position between $1 and $2 and status = 'pending'`,
      [first, last],
    );
    return rowCount ?? 0;
  };

  return {
    name: 'rows alone: COPY, one update a range',
    settings: { connections: COPY_CONNECTIONS, rows: COPY_ROWS },

    async measure(jobs) {
      const startedAt = performance.now();
      const share = Math.ceil(jobs / clients.length);
      const written = await Promise.all(
        clients.map((client, n) => writeShare(client, n * share + 1, Math.min((n + 1) * share, jobs))),
      );
      const rate = rateSince(startedAt, jobs);
      checkCount(
        written.reduce((sum, count) => sum + count, 0),
        jobs,
      );
      await knex.raw('truncate ??', [table]);
      return rate;
    },

    async [Symbol.asyncDispose]() {
      await Promise.all(clients.map((client) => client.end()));
      await knex.raw('drop table ??', [table]);
    },
  };
}

/** Rows in the text format of COPY, many to a piece. */
function* copyText(first: number, last: number): Generator<string> {
  for (let from = first; from <= last; from += COPY_ROWS) {
    let text = '';
    for (let position = from; position <= Math.min(from + COPY_ROWS - 1, last); position++) {
      text += `raw\t${position}\traw/${position}\tNoop\t[${position}]\n`;
    }
    yield text;
  }
}
