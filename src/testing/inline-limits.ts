import { Limits, resolveLimit, toRecord, type LimitOptions, type LimitRecord } from '../client/limits.ts';
import type { LimitRow } from '../database/limits.ts';
import { assertName } from '../options.ts';

/** Keeps limits in memory. Inline jobs run one at a time, so no limit holds them back. */
export class InlineLimits extends Limits {
  readonly #rows = new Map<string, LimitRow>();

  get names(): string[] {
    return [...this.#rows.keys()].toSorted();
  }

  override async set(name: string, options: LimitOptions): Promise<LimitRecord> {
    assertName('name', name);
    const now = new Date();
    const row = {
      name,
      ...resolveLimit(options),
      permits_out: 0,
      running: 0,
      waiting: 0,
      created_at: this.#rows.get(name)?.created_at ?? now,
      updated_at: now,
    };
    this.#rows.set(name, row);
    return toRecord(row);
  }

  override async get(name: string): Promise<LimitRecord | undefined> {
    assertName('name', name);
    const row = this.#rows.get(name);
    return row && toRecord(row);
  }

  override async list(): Promise<LimitRecord[]> {
    return this.names.map((name) => toRecord(this.#rows.get(name)!));
  }

  override async delete(name: string): Promise<boolean> {
    assertName('name', name);
    return this.#rows.delete(name);
  }
}
