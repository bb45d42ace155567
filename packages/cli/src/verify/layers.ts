/** What each product loses by itself: its result beside that of the same weights with float activations. */
import type { OpenModel } from '../edit/open-model.ts';
import { Noise } from '../feeds/compare.ts';
import { type Engine, type Feeds, numbersOf, sessionOf } from '../feeds/engines.ts';
import type { QuantizedProduct } from '../rewrite/integers.ts';
import { sideBySide } from './variants.ts';

/** A row of a product's input. */
export interface WorstRow {
  readonly row: number;
  readonly sqnr: number;
  /** Its largest magnitude beside its mean one: outliers take the steps of the others. */
  readonly peak: number;
  /** The channel of it. */
  readonly channel: number;
}

/** A product in one engine. */
export interface LayerLoss {
  readonly sqnr: number;
  readonly worst: WorstRow | undefined;
}

export async function layerLosses(
  model: OpenModel,
  products: readonly QuantizedProduct[],
  engine: Engine,
  feeds: Feeds,
  path: string,
): Promise<LayerLoss[]> {
  const { edit, beside } = sideBySide(model, products);
  const session = await sessionOf(edit, engine, path, true);
  const results = await session.run(feeds);
  const losses: LayerLoss[] = [];
  for (const { product, x, float, quantized } of beside) {
    const [reference, got] = [await numbersOf(results[float]!), await numbersOf(results[quantized]!)];
    const input = results[x] ?? feeds[x];
    const values = input && (await numbersOf(input));
    losses.push({
      sqnr: new Noise().add(reference, got).sqnr,
      worst: values && worstRow(reference, got, values, product),
    });
  }
  await session.release();
  return losses;
}

function worstRow(
  reference: Float32Array,
  got: Float32Array,
  x: Float32Array,
  { N, K }: QuantizedProduct,
): WorstRow | undefined {
  let worst: WorstRow | undefined;
  for (let row = 0; row * N < reference.length; row++) {
    const { sqnr } = new Noise().add(reference, got, row * N, (row + 1) * N);
    if (!Number.isFinite(sqnr) || (worst && sqnr >= worst.sqnr)) continue;
    const values = x.subarray(row * K, (row + 1) * K);
    let [channel, sum] = [0, 0];
    for (const [k, value] of values.entries()) {
      sum += Math.abs(value);
      if (Math.abs(value) > Math.abs(values[channel]!)) channel = k;
    }
    worst = { row, sqnr, peak: (Math.abs(values[channel]!) * K) / sum, channel };
  }
  return worst;
}
