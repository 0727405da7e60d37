import { setTimeout as delay } from 'node:timers/promises';
import type { Knex } from 'knex';
import type { MirrorSample } from './evidence.ts';

const INTERVAL_MS = 400;
/** Statements end, and connections of killed processes are noticed, within this time. */
const SETTLE_MS = 15_000;

/** Looks at the mirror while a round goes on, as a dashboard would. */
export class MirrorWatch {
  readonly samples: MirrorSample[] = [];
  readonly #knex: Knex;
  readonly #schema: string;
  readonly #watching: Promise<void>;
  #isOver = false;

  constructor(knex: Knex, schema: string) {
    this.#knex = knex;
    this.#schema = schema;
    this.#watching = this.#watch();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#watching;
  }

  /** Sessions that hold a transaction open, or wait for a lock, though no work is left. */
  async leftSessions(): Promise<string[]> {
    const deadline = Date.now() + SETTLE_MS;
    for (;;) {
      const left = await this.#busySessions().catch((error: unknown) => [String(error)]);
      if (left.length === 0 || Date.now() > deadline) return left;
      await delay(INTERVAL_MS);
    }
  }

  async #watch(): Promise<void> {
    const last = new Map<string, string>();
    while (!this.#isOver) {
      for (const sample of await this.#read()) {
        const text = JSON.stringify(sample);
        if (last.get(sample.id) !== text) this.samples.push(sample);
        last.set(sample.id, text);
      }
      await delay(INTERVAL_MS);
    }
  }

  async #read(): Promise<MirrorSample[]> {
    try {
      const { rows } = await this.#knex.raw(
        `select id, round, status, total, complete, failed, cancelled from :schema:.batch_progress`,
        { schema: this.#schema },
      );
      return rows;
    } catch {
      // Postgres is away.
      return [];
    }
  }

  async #busySessions(): Promise<string[]> {
    const { rows } = await this.#knex.raw(
      `select a.pid, a.state, a.wait_event_type, a.query from pg_stat_activity a
       where a.application_name = 'temporal-batch-jobs' and a.query like ?
         and (a.state like 'idle in transaction%'
           or exists (select from pg_locks l where l.pid = a.pid and not l.granted))`,
      [`%${this.#schema}%`],
    );
    return rows.map((row: unknown) => JSON.stringify(row));
  }
}
