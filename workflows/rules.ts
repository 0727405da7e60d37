/** All rules of a batch, as its workflow needs them. */
export * from './batch-state.ts';
export * from './idleness.ts';
export * from './ranges.ts';
export * from './steering.ts';
