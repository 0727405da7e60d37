import { escapeIdentifier, Pool } from 'pg';
import type { City } from './cities.ts';

/** More keep two cores no busier, only switching: 20 took longer than 8. */
const POOL_SIZE = 8;

/** Where the jobs write. One statement a job, prepared once a connection: a query builder would cost more than Postgres. */
export class ScoreStore {
  readonly #pool: Pool;
  readonly #saveScore: string;
  readonly #requestEstimate: string;
  readonly #findEstimate: string;

  constructor(databaseUrl: string, schema: string, poolSize = POOL_SIZE) {
    this.#pool = new Pool({
      connectionString: databaseUrl,
      application_name: 'leaderboard-demo-jobs',
      max: poolSize,
    });
    // A connection that breaks while nobody uses it is replaced by the pool; the jobs that use one see the error.
    this.#pool.on('error', () => {});
    const name = escapeIdentifier(schema);
    this.#saveScore = `
      insert into ${name}.city_scores (batch_id, city_id, country, name, population, score)
      values ($1, $2, $3, $4, $5, $6)
      on conflict (batch_id, city_id) do update
      set country = excluded.country, name = excluded.name, population = excluded.population, score = excluded.score`;
    this.#requestEstimate = `
      insert into ${name}.population_estimates (batch_id, city_id, population) values ($1, $2, $3)
      on conflict do nothing`;
    this.#findEstimate = `
      select population from ${name}.population_estimates where batch_id = $1 and city_id = $2`;
  }

  /** Opens all connections. Without it, the first jobs would pay for them and look slow. */
  async connect(): Promise<void> {
    const clients = await Promise.all(
      Array.from({ length: this.#pool.options.max }, async () => this.#pool.connect()),
    );
    for (const client of clients) client.release();
  }

  /** Safe to repeat: jobs run at least once. */
  async saveScore(batchId: string, city: City, population: number, score: number): Promise<void> {
    await this.#pool.query({
      name: 'save-score',
      text: this.#saveScore,
      values: [batchId, city.cityId, city.country, city.name, population, score],
    });
  }

  async findEstimate(batchId: string, cityId: number): Promise<number | undefined> {
    const { rows } = await this.#pool.query<{ population: number }>({
      name: 'find-estimate',
      text: this.#findEstimate,
      values: [batchId, cityId],
    });
    return rows[0]?.population;
  }

  async requestEstimate(batchId: string, cityId: number, population: number): Promise<void> {
    await this.#pool.query({
      name: 'request-estimate',
      text: this.#requestEstimate,
      values: [batchId, cityId, population],
    });
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }
}

let store: ScoreStore | undefined;

/** Opens the store that the jobs of this process use. */
export function openScoreStore(databaseUrl: string, schema: string): ScoreStore {
  store = new ScoreStore(databaseUrl, schema);
  return store;
}

/** @throws {Error} in a process that runs no jobs and opened none */
export function scoreStore(): ScoreStore {
  if (!store)
    throw new Error('The worker opens the score store before it runs jobs: call openScoreStore first.');
  return store;
}
