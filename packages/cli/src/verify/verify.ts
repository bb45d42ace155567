/** A quantized model against the same weights with float activations: the library behind `msd verify`. */
import type { Edit } from '../edit/edit.ts';
import { nodeName, type OpenModel } from '../edit/open-model.ts';
import { type Engine, type Feeds, sessionOf } from '../feeds/engines.ts';
import { type Given, givenFeeds } from '../feeds/given.ts';
import { findProducts, type QuantizedProduct } from '../rewrite/integers.ts';
import { UserError } from '../shared/errors.ts';
import { bytesText } from '../shared/numbers.ts';
import { straightened } from './branches.ts';
import { generate, isDecoder, type Written } from './generate.ts';
import { type LayerLoss, layerLosses } from './layers.ts';
import { type Compared, choicesOf, runPartly, type WholeLoss, wholeLoss } from './tokens.ts';
import { floatBytesOf, partlyFloat } from './variants.ts';

export const ENGINES: readonly Engine[] = ['ort', 'msd-1', 'msd-2'];

export interface VerifyOptions extends Given {
  /** Tokens to write after a prompt. */
  readonly tokens: number;
  readonly onStep: (what: string, done: number, total: number) => void;
  /** Throws to stop. */
  readonly check: () => void;
}

export interface LayerResult {
  readonly name: string;
  readonly N: number;
  readonly K: number;
  readonly losses: Readonly<Record<Engine, LayerLoss>>;
}

export interface Texts {
  readonly float: Written;
  readonly engines: Readonly<Record<Engine, Written>>;
}

export interface VerifyResult {
  readonly layers: readonly LayerResult[];
  readonly whole: Readonly<Record<Engine, WholeLoss>>;
  readonly kept: readonly { readonly name: string; readonly reason: string }[];
  /** Inputs that choose between branches, and are false here: of a merged decoder, the branch of a first run. */
  readonly falseInputs: readonly string[];
  /** Tokens that the model was run on. */
  readonly ids: readonly number[] | undefined;
  /** The smallest margin of a token with float activations. */
  readonly leastMargin: number | undefined;
  readonly texts: Texts | undefined;
}

/** Weights as floats, and the model itself, have to fit into 4 GB of WebAssembly's memory. */
const MOST_FLOAT_BYTES = 1.6e9;

/** @param root the folder with tokenizer.json */
export async function verifyModel(
  model: OpenModel,
  path: string,
  root: string,
  options: VerifyOptions,
): Promise<VerifyResult> {
  const { model: straight, falseInputs } = await straightened(model, path);
  try {
    return { ...(await verifyStraight(straight, path, root, options, falseInputs.length > 0)), falseInputs };
  } finally {
    if (straight !== model) straight.close();
  }
}

/** @param forgets it has no use for its caches: they belong to the branch that went */
async function verifyStraight(
  model: OpenModel,
  path: string,
  root: string,
  options: VerifyOptions,
  forgets: boolean,
): Promise<Omit<VerifyResult, 'falseInputs'>> {
  const found = findProducts(model);
  const isInside = ({ scope }: QuantizedProduct): boolean => scope !== model.root;
  const products = found.products.filter((product) => !isInside(product));
  const kept = [
    ...found.refused.map(({ node, reason }) => ({ name: nodeName(node), reason })),
    ...found.products.filter(isInside).map(({ name }) => ({ name, reason: 'it is inside a Loop, Scan or If' })),
  ];
  if (products.length === 0)
    throw new UserError(
      `${path}: no products of quantized weights to verify${kept.length > 0 ? ` (${kept[0]!.name}: ${kept[0]!.reason})` : ''}. Quantize it first: msd quantize ${path} -o OUT`,
    );
  if (floatBytesOf(products) > MOST_FLOAT_BYTES)
    throw new UserError(
      `${path}: its weights are ${bytesText(floatBytesOf(products))} as floats, and ${bytesText(MOST_FLOAT_BYTES)} fit into WebAssembly beside the rest. Verify a smaller model of the family.`,
    );
  const total = 1 + 2 * ENGINES.length;
  let done = 0;
  const step = (what: string): void => {
    options.check();
    options.onStep(what, done++, total);
  };
  step('the floats');
  const { feeds, ids } = await feedsFor(model, products, path, root, options);
  const compared: Compared = { model, products, feeds, path };
  const reference = await runPartly(compared, 0, 'ort');
  const losses = {} as Record<Engine, LayerLoss[]>;
  const whole = {} as Record<Engine, WholeLoss>;
  for (const engine of ENGINES) {
    step(`layers, ${engine}`);
    losses[engine] = await layerLosses(model, products, engine, feeds, path);
    step(`the whole, ${engine}`);
    whole[engine] = await wholeLoss(compared, reference, engine);
  }
  const choices = await choicesOf(reference);
  return {
    layers: products.map(({ name, N, K }, i) => ({
      name,
      N,
      K,
      losses: Object.fromEntries(ENGINES.map((engine) => [engine, losses[engine][i]!])) as LayerResult['losses'],
    })),
    whole,
    kept,
    ids,
    leastMargin: choices && Math.min(...choices.margins),
    texts: options.prompt === undefined ? undefined : await textsOf(compared, ids!, options, forgets),
  };
}

async function feedsFor(
  model: OpenModel,
  products: readonly QuantizedProduct[],
  path: string,
  root: string,
  given: Given,
): Promise<{ feeds: Feeds; ids: readonly number[] | undefined }> {
  const session = await sessionOf(partlyFloat(model, products, products.length), 'ort', path);
  try {
    return await givenFeeds(session, given, root);
  } finally {
    await session.release();
  }
}

async function textsOf(
  { model, products, path }: Compared,
  ids: readonly number[],
  options: VerifyOptions,
  forgets: boolean,
): Promise<Texts | undefined> {
  const total = options.tokens * (1 + ENGINES.length);
  let done = 0;
  const write = async (edit: Edit, engine: Engine): Promise<Written | undefined> => {
    const session = await sessionOf(edit, engine, path);
    const written = isDecoder(session)
      ? await generate(session, ids, {
          count: options.tokens,
          forgets,
          onToken: () => {
            options.check();
            options.onStep('texts', ++done, total);
          },
        })
      : undefined;
    await session.release();
    return written;
  };
  const float = await write(partlyFloat(model, products, 0), 'ort');
  if (!float) return undefined;
  const engines = {} as Record<Engine, Written>;
  for (const engine of ENGINES) engines[engine] = (await write(partlyFloat(model, products, products.length), engine))!;
  return { float, engines };
}
