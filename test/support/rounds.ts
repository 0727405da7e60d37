/** The share of the rounds that this run plays: see vitest.config.ts. */
const SHARE = Number(process.env['TEST_ROUNDS'] ?? 1);

/**
 * Runs so many rounds, several at once; the first that fails says which one it was. A run that plays a share of them
 * plays the first, the last and others evenly between, so that what a round makes of its number is swept as well.
 */
export async function inRounds(
  count: number,
  atOnce: number,
  round: (number: number) => Promise<void>,
): Promise<void> {
  const played = Math.max(2, Math.round(count * SHARE));
  const numbers = Array.from({ length: played }, (_, i) => 1 + Math.round((i * (count - 1)) / (played - 1)));
  const runner = async () => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      try {
        await round(number);
      } catch (error) {
        numbers.length = 0;
        if (error instanceof Error) error.message = `In round ${number} of ${count}: ${error.message}`;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, runner));
}
