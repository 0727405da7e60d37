const NUMBER = new Intl.NumberFormat('en');

/** 135,233 */
export function formatCount(value: number): string {
  return NUMBER.format(Math.round(value));
}

/** 8.2 s, 1 min 12 s */
export function formatSeconds(seconds: number): string {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}
