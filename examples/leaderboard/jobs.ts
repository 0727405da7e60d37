import type { Knex } from 'knex';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { cityById, lacksAdminCode, lacksPopulation, type City } from './cities.ts';
import { scoreStore } from './score-store.ts';
import { scoreOf, statisticsOf } from './statistics.ts';

/** The record is bad, and will be at every retry: the job fails for good at once. */
export class MissingAdminCodeError extends Error {
  override readonly name = 'MissingAdminCodeError';
}

/** The city's population is not known and was not estimated until now: the next attempt finds the estimate. */
export class EstimatePendingError extends Error {
  override readonly name = 'EstimatePendingError';
}

/** Scores a city within its country and stores the score. */
export const scoreCity = defineJob(
  'ScoreCity',
  async (cityId: number) => {
    const batchId = currentJob().batchId ?? 'none';
    const city = cityById(cityId);
    if (lacksAdminCode(city)) {
      throw new MissingAdminCodeError(`${city.name} (${city.country}) has no admin code`);
    }
    const population = lacksPopulation(city) ? await estimatedPopulation(batchId, city) : city.population;
    await scoreStore().saveScore(batchId, city, population, scoreOf(population, statisticsOf(city.country)));
  },
  { retry: { maximumAttempts: 5, nonRetryableErrorTypes: ['MissingAdminCodeError'] } },
);

/** @throws {EstimatePendingError} the first time, after it has asked for the estimate */
async function estimatedPopulation(batchId: string, { cityId, country, name }: City): Promise<number> {
  const estimate = await scoreStore().findEstimate(batchId, cityId);
  if (estimate !== undefined) return estimate;
  // A real app would ask a slow service here. This one takes the smallest population known in the country.
  await scoreStore().requestEstimate(batchId, cityId, statisticsOf(country).smallest);
  throw new EstimatePendingError(`The population of ${name} (${country}) is being estimated`);
}

// Both callbacks write with `trx`, so what they write commits together with the library's mark that they ran: exactly
// once, even when the worker is killed in between.

/** Every city has its score. */
export const publishLeaderboard = defineCallback(
  'PublishLeaderboard',
  async (batchId, { trx }) =>
    rebuildLeaderboard(trx, { batchId, event: 'complete', callback: 'PublishLeaderboard' }),
  { transaction: true },
);

/** Some city has no score: the leaderboard is made of those that have. */
export const publishPartialLeaderboard = defineCallback(
  'PublishPartialLeaderboard',
  async (batchId, { trx }) =>
    rebuildLeaderboard(trx, { batchId, event: 'failure', callback: 'PublishPartialLeaderboard' }),
  { transaction: true },
);

interface CallbackRun {
  readonly batchId: string;
  readonly event: 'complete' | 'failure';
  readonly callback: string;
}

/** Cities of each country that the leaderboard keeps. */
const PER_COUNTRY = 10;

async function rebuildLeaderboard(trx: Knex.Transaction, run: CallbackRun): Promise<void> {
  await trx('leaderboard').where({ batch_id: run.batchId }).delete();
  const { rowCount } = await trx.raw<{ rowCount: number }>(
    `
    insert into leaderboard (batch_id, country, rank, city_id, name, population, score)
    select batch_id, country, rank, city_id, name, population, score
    from (
      select *, row_number() over (partition by country order by score desc, city_id) as rank
      from city_scores
      where batch_id = ?
    ) ranked
    where rank <= ?`,
    [run.batchId, PER_COUNTRY],
  );
  await trx('callback_log').insert({
    batch_id: run.batchId,
    event: run.event,
    callback: run.callback,
    leaderboard_rows: rowCount,
  });
}
