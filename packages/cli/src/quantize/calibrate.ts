export async function calibration(..._: unknown[]): Promise<never> {
  throw new Error('soon');
}
