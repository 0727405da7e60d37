import { CITIES, lacksPopulation } from './cities.ts';

/** What a city's score is measured against. Populations differ by factors, so they are compared as logarithms. */
export interface CountryStatistics {
  readonly meanLog: number;
  /** Standard deviation of the logarithms; 0 for a country with one city. */
  readonly deviation: number;
  /** Population of the smallest city whose population is known: the estimate for one where it is not. */
  readonly smallest: number;
}

const statistics: ReadonlyMap<string, CountryStatistics> = computeStatistics();

/** @throws {RangeError} for a country of which no population is known */
export function statisticsOf(country: string): CountryStatistics {
  const found = statistics.get(country);
  if (!found) throw new RangeError(`No population of a city in ${country} is known.`);
  return found;
}

/** By how many standard deviations a city is larger than the typical city of its country. */
export function scoreOf(population: number, { meanLog, deviation }: CountryStatistics): number {
  return deviation === 0 ? 0 : (Math.log(population) - meanLog) / deviation;
}

function computeStatistics(): Map<string, CountryStatistics> {
  const populations = new Map<string, number[]>();
  for (const city of CITIES) {
    if (lacksPopulation(city)) continue;
    const known = populations.get(city.country);
    if (known) known.push(city.population);
    else populations.set(city.country, [city.population]);
  }
  return new Map([...populations].map(([country, known]) => [country, summarize(known)]));
}

function summarize(populations: readonly number[]): CountryStatistics {
  const logs = populations.map(Math.log);
  const meanLog = mean(logs);
  return {
    meanLog,
    deviation: Math.sqrt(mean(logs.map((log) => (log - meanLog) ** 2))),
    smallest: populations.reduce((least, population) => Math.min(least, population)),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
