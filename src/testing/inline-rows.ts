import type { Knex } from 'knex';
import { InlineUnsupportedError } from './errors.ts';

/** Rows that can be awaited as those of a query builder are, and not be chained on. @param what names them */
export function inlineRows<Row>(what: string, read: () => Row[]): Knex.QueryBuilder<object, Row[]> {
  const rows = {
    // oxlint-disable-next-line unicorn/no-thenable -- a query builder is one
    then: (...handlers: Parameters<Promise<Row[]>['then']>) => Promise.resolve(read()).then(...handlers),
    catch: (...handlers: Parameters<Promise<Row[]>['catch']>) => Promise.resolve(read()).catch(...handlers),
    finally: (...handlers: Parameters<Promise<Row[]>['finally']>) =>
      Promise.resolve(read()).finally(...handlers),
  };
  return new Proxy(rows, {
    get(target, property, receiver) {
      if (typeof property === 'symbol' || property in target) return Reflect.get(target, property, receiver);
      throw new InlineUnsupportedError(`${what}.${property}()`);
    },
  }) as unknown as Knex.QueryBuilder<object, Row[]>;
}
