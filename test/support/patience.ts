/** How many times slower this machine is than the one for which limits of tests were chosen: see vitest.config.ts. */
export const SLOWNESS = Number(process.env['TEST_SLOWNESS'] ?? 1);

/** How long tests wait for what must happen and has no time of its own, in milliseconds. */
export const PATIENCE = 90_000 * SLOWNESS;
