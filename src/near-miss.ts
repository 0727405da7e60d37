/**
 * The known name that somebody most likely meant: the one with the fewest typing errors (a letter too many, missing,
 * wrong, or two swapped), if they are few for its length. Case, `_` and `-` do not count.
 */
export function nearestName(given: string, known: readonly string[]): string | undefined {
  const distances = known.map((name) => ({ name, distance: distanceOf(plain(given), plain(name)) }));
  const [nearest] = distances.toSorted((a, b) => a.distance - b.distance);
  return nearest && nearest.distance <= Math.ceil(nearest.name.length / 4) ? nearest.name : undefined;
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[_-]/g, '');
}

/** Optimal string alignment: https://en.wikipedia.org/wiki/Damerau–Levenshtein_distance */
function distanceOf(a: string, b: string): number {
  // Three rows of the table: the one that is made, and the two before it.
  let before: number[] = [];
  let last = [...Array(b.length + 1).keys()];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const isSame = a[i - 1] === b[j - 1];
      const isSwapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(
        last[j]! + 1,
        row[j - 1]! + 1,
        last[j - 1]! + (isSame ? 0 : 1),
        isSwapped ? before[j - 2]! + 1 : Infinity,
      );
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
