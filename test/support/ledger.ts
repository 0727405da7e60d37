import type { Knex } from 'knex';

/** What a handler did, written by the handler itself: the tests' evidence beside the mirror and the workflow. */
export interface LedgerEntry {
  readonly what: string;
  readonly batch_id: string | null;
  readonly jid: string | null;
  readonly attempt: number;
  readonly detail: unknown;
  readonly pid: number;
}

/** A table of a test's own schema. */
export class Ledger {
  readonly #knex: Knex;
  readonly #schema: string;

  constructor(knex: Knex, schema: string) {
    this.#knex = knex;
    this.#schema = schema;
  }

  async create(): Promise<void> {
    await this.#knex.raw(
      `create table :schema:.ledger (
         id bigserial primary key, what text not null, batch_id text, jid text, attempt integer not null,
         detail jsonb, pid integer not null, at timestamptz not null default clock_timestamp())`,
      { schema: this.#schema },
    );
  }

  async write(entry: Omit<LedgerEntry, 'pid'>, trx: Knex = this.#knex): Promise<void> {
    await trx
      .withSchema(this.#schema)
      .insert({ ...entry, detail: JSON.stringify(entry.detail ?? null), pid: process.pid })
      .into('ledger');
  }

  /** Entries of a batch, in the order they were written. */
  async of(batchId: string, what?: string): Promise<LedgerEntry[]> {
    const query = this.#knex
      .withSchema(this.#schema)
      .from('ledger')
      .where('batch_id', batchId)
      .orderBy('id')
      .select<LedgerEntry[]>('what', 'batch_id', 'jid', 'attempt', 'detail', 'pid');
    return what === undefined ? query : query.where({ what });
  }
}
