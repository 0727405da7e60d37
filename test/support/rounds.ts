/** Runs so many rounds, several at once; the first that fails says which one it was. */
export async function inRounds(
  count: number,
  atOnce: number,
  round: (number: number) => Promise<void>,
): Promise<void> {
  let next = 1;
  const runner = async () => {
    for (let number = next++; number <= count; number = next++) {
      try {
        await round(number);
      } catch (error) {
        next = Infinity;
        if (error instanceof Error) error.message = `In round ${number} of ${count}: ${error.message}`;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, runner));
}
