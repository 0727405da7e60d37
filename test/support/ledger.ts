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
  /** Entries that go with the next insert: while one is under way, those of many handlers come together. */
  #waiting: object[] = [];
  #writing: Promise<void> | undefined;

  constructor(knex: Knex, schema: string) {
    this.#knex = knex;
    this.#schema = schema;
  }

  async create(): Promise<void> {
    await this.#knex.raw(
      `create table :schema:.ledger (
         id bigserial primary key, what text not null, batch_id text, jid text, attempt integer not null,
         detail jsonb, pid integer not null, at timestamptz not null default clock_timestamp());
       create index on :schema:.ledger (batch_id)`,
      { schema: this.#schema },
    );
  }

  /** Resolves once the entry is committed, or with a transaction, once it is part of that. */
  async write(entry: Omit<LedgerEntry, 'pid'>, trx?: Knex): Promise<void> {
    const row = { ...entry, detail: JSON.stringify(entry.detail ?? null), pid: process.pid };
    if (trx) return this.#insert([row], trx);
    this.#waiting.push(row);
    // What comes before this insert begins goes with it.
    const before = this.#writing;
    if (!before) return this.#flush();
    await before.catch(() => {});
    return this.#writing ?? this.#flush();
  }

  /** Writes what waits. */
  #flush(): Promise<void> {
    const rows = this.#waiting;
    this.#waiting = [];
    const writing = this.#insert(rows, this.#knex).finally(() => {
      this.#writing = undefined;
    });
    this.#writing = writing;
    return writing;
  }

  async #insert(rows: readonly object[], trx: Knex): Promise<void> {
    await trx.withSchema(this.#schema).insert(rows).into('ledger');
  }

  /** How many entries of a batch there are. */
  async count(batchId: string, what: string): Promise<number> {
    const query = this.#knex.withSchema(this.#schema).from('ledger').where({ batch_id: batchId, what });
    const [row] = await query.count<{ count: string }[]>();
    return Number(row!.count);
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
