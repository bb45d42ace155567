/** What a model says: the most likely token at each position, and which product makes another of it. */
import type { OpenModel } from '../edit/open-model.ts';
import { noiseOf } from '../feeds/compare.ts';
import { ENGINE_NAMES, type Engine, type Feeds, numbersOf, type Results, sessionOf } from '../feeds/engines.ts';
import type { QuantizedProduct } from '../rewrite/integers.ts';
import { messageOf, UserError } from '../shared/errors.ts';
import { partlyFloat } from './variants.ts';

/** The best of each row, and how far the second best is behind. */
export interface Choices {
  readonly best: readonly number[];
  readonly margins: readonly number[];
}

/** Of `logits`, or of the first float output. */
export async function choicesOf(results: Results): Promise<Choices | undefined> {
  const tensor = results.logits ?? Object.values(results).find(({ type }) => type.startsWith('float'));
  const width = tensor?.dims.at(-1) ?? 0;
  if (!tensor || width < 2) return undefined;
  const values = await numbersOf(tensor);
  const [best, margins]: [number[], number[]] = [[], []];
  for (let at = 0; at < values.length; at += width) {
    let [first, second] = [0, 1];
    if (values[at + 1]! > values[at]!) [first, second] = [1, 0];
    for (let i = 2; i < width; i++)
      if (values[at + i]! > values[at + first]!) [first, second] = [i, first];
      else if (values[at + i]! > values[at + second]!) second = i;
    best.push(first);
    margins.push(values[at + first]! - values[at + second]!);
  }
  return { best, margins };
}

/** A whole model against its floats. */
export interface WholeLoss {
  readonly sqnr: number;
  /** Positions whose token is another one. */
  readonly flips: readonly number[];
  readonly positions: number;
  /** Of the first flip: the product whose rounding makes it, what it was, what it is, and the margin that it had. */
  readonly first?: {
    readonly position: number;
    readonly product: string;
    readonly from: number;
    readonly to: number;
    readonly margin: number;
  };
}

export interface Compared {
  readonly model: OpenModel;
  readonly products: readonly QuantizedProduct[];
  readonly feeds: Feeds;
  readonly path: string;
}

/** With the first `count` products as the file has them. */
export async function runPartly(
  { model, products, feeds, path }: Compared,
  count: number,
  engine: Engine,
): Promise<Results> {
  const session = await sessionOf(partlyFloat(model, products, count), engine, path);
  try {
    const results = await session.run(feeds);
    for (const tensor of Object.values(results)) await tensor.getData();
    return results;
  } catch (cause) {
    throw new UserError(
      `${path}: ${ENGINE_NAMES[engine]} does not run it on such inputs (${messageOf(cause).trim()}), and msd verify compares with that. Give others (--inputs, --prompt), or a form of the model for CPUs.`,
      { cause },
    );
  } finally {
    await session.release();
  }
}

/** @param reference of all products with float activations */
export async function wholeLoss(of: Compared, reference: Results, engine: Engine): Promise<WholeLoss> {
  const { products } = of;
  const results = await runPartly(of, products.length, engine);
  const sqnr = await noiseOf(reference, results);
  const [expected, got] = [await choicesOf(reference), await choicesOf(results)];
  if (!expected || !got) return { sqnr, flips: [], positions: 0 };
  const flips = expected.best.flatMap((token, i) => (got.best[i] === token ? [] : [i]));
  const whole = { sqnr, flips, positions: expected.best.length };
  const [position] = flips;
  if (position === undefined) return whole;
  // Between a number of products that leaves the token, and one that does not.
  let [stays, changes] = [0, products.length];
  while (changes - stays > 1) {
    const middle = (stays + changes) >> 1;
    const choices = await choicesOf(await runPartly(of, middle, engine));
    if (choices?.best[position] === expected.best[position]) stays = middle;
    else changes = middle;
  }
  return {
    ...whole,
    first: {
      position,
      product: products[changes - 1]!.name,
      from: expected.best[position]!,
      to: got.best[position]!,
      margin: expected.margins[position]!,
    },
  };
}
