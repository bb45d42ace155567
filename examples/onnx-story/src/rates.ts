/** Tokens per second out of the times at which tokens came. */

/** What the reader waits for, after the first token. @param times milliseconds, one per token */
export function tokensPerSecond(times: readonly number[]): number | undefined {
  const [first, last] = [times[0], times.at(-1)];
  return first === undefined || last === undefined || last <= first
    ? undefined
    : ((times.length - 1) * 1000) / (last - first);
}

/** One point per token but the first: the rate over the tokens before it, `window` at most. */
export function rateCurve(times: readonly number[], window = 16): { token: number; rate: number }[] {
  const points: { token: number; rate: number }[] = [];
  for (let token = 1; token < times.length; token++) {
    const from = Math.max(0, token - window);
    const elapsedMs = times[token]! - times[from]!;
    if (elapsedMs > 0) points.push({ token: token + 1, rate: ((token - from) * 1000) / elapsedMs });
  }
  return points;
}
