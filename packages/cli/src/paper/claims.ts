/**
 * The claims of the paper's abstract (arXiv 2605.13915), one by one: what it says, what comes out here, whether that is the same,
 * and why not. Every figure is looked up in the simulations or asked of the models; verdicts follow from them by rule.
 */
import { accelerators, bitsOfBound, bytesPerElement, floatBits, int8Bound, mxfp4Bits } from '@msd/core/theory';
import type { Models } from './models.ts';
import type { Summary } from './summary.ts';

export type Verdict = 'reproduced' | 'in part' | 'not reproduced';

/** A number of a claim. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  /** As a factor, of one other seed: see {@link Summary}. 1: a closed form. */
  readonly spread: number;
}

/** A row of the table. */
export interface Claim {
  readonly id: string;
  /** What the paper says, in our words. */
  readonly says: string;
  /** What comes out here. */
  readonly got: string;
  readonly verdict: Verdict;
  readonly why: string;
  readonly figures: readonly Figure[];
}

/** K and T of all claims: extents have it always. */
export const CLAIM_SIZE = 4096;

/** Ratios and errors: 1.32, 15, 0.017. */
export function short(value: number): string {
  const rounded = Number(value.toPrecision(value >= 1 && value < 10 ? 3 : 2));
  return rounded === 0 || rounded >= 0.001 ? String(rounded) : rounded.toExponential();
}

const inBits = ({ value }: Figure): string => value.toFixed(2);
const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

const product = (...spreads: readonly number[]): number => Math.exp(Math.hypot(...spreads.map(Math.log)));

/** Looks figures up. */
class Figures {
  readonly #summaries: readonly Summary[];

  constructor(summaries: readonly Summary[]) {
    this.#summaries = summaries;
  }

  find(experiment: Summary['experiment'], distribution: string, variant: string): Summary {
    const found = this.#summaries.find(
      (each) =>
        each.experiment === experiment &&
        each.distribution === distribution &&
        each.variant === variant &&
        each.size === CLAIM_SIZE,
    );
    if (!found) throw new RangeError(`claims: ${experiment} of ${distribution}, ${variant}, was not simulated.`);
    return found;
  }

  of(name: string, experiment: Summary['experiment'], distribution: string, variant: string): Figure {
    const { value, spread } = this.find(experiment, distribution, variant);
    return { name, value, spread };
  }

  /** How many times as large the error of `worse` is as that of `better`. */
  ratio(experiment: Summary['experiment'], distribution: string, worse: string, better: string): Figure {
    const [a, b] = [worse, better].map((variant) => this.find(experiment, distribution, variant)) as [Summary, Summary];
    return { name: distribution, value: a.value / b.value, spread: product(a.spread, b.spread) };
  }

  /** The ratio of every distribution, the smallest first. */
  ratios(experiment: Summary['experiment'], worse: string, better: string): Figure[] {
    const names = new Set(this.#summaries.filter((each) => each.experiment === experiment).map((s) => s.distribution));
    return [...names]
      .map((distribution) => this.ratio(experiment, distribution, worse, better))
      .sort((a, b) => a.value - b.value);
  }
}

const exactly = (name: string, value: number): Figure => ({ name, value, spread: 1 });
const named = (prefix: string, figures: readonly Figure[]): Figure[] =>
  figures.map((figure) => ({ ...figure, name: `${prefix}: ${figure.name}` }));
const range = (figures: readonly Figure[], text = short): string => {
  const values = figures.map(({ value }) => value);
  const [low, high] = [text(Math.min(...values)), text(Math.max(...values))];
  return low === high ? low : `${low} to ${high}`;
};
const near = (value: number, said: number, by: number): boolean => Math.abs(value - said) <= by;

/** The table. */
export function claimsOf(summaries: readonly Summary[], models: Models): Claim[] {
  const figures = new Figures(summaries);
  return [
    int8Bits(figures),
    mxfp4TwoPasses(figures),
    mxfp8Bits(figures),
    bounds(figures),
    surpasses(figures),
    sameTime(),
    noStall(models),
    kvTraffic(models),
    int8Products(figures),
    mxfp4Products(figures),
    attention(figures),
  ];
}

function int8Bits(figures: Figures): Claim {
  const bound = exactly('by the bound', bitsOfBound(1, int8Bound(1, 2)));
  const bits = (name: string, distribution: string, variant: string): Figure =>
    figures.of(name, 'bits', distribution, variant);
  const gaussian = [
    bits('Gaussian, row', 'gaussian', 'int8 x2, row'),
    bits('Gaussian, 256', 'gaussian', 'int8 x2, 256'),
  ];
  const uniform = bits('uniform', 'uniform', 'int8 x2, row');
  const laplace = bits('Laplace, row', 'laplace', 'int8 x2, row');
  const isBound = near(bound.value, 16, 0.1);
  return {
    id: 'int8-bits',
    says: 'Two INT8 passes over activations keep near 16 effective bits.',
    got: `${inBits(bound)} bits by the bound; by signal to noise ${inBits(uniform)} for evenly spread numbers, ${gaussian.map(inBits).join(' (one scale per row) and ')} (per 256) for Gaussian ones, ${inBits(laplace)} with longer tails.`,
    verdict: !isBound ? 'not reproduced' : near(gaussian[1]!.value, 16, 0.5) ? 'reproduced' : 'in part',
    why: 'The figure is log2(64516): the largest value over the largest error. Numbers that are rarely as large as the largest one have less signal over the same noise.',
    figures: [bound, uniform, ...gaussian, laplace],
  };
}

function mxfp4TwoPasses(figures: Figures): Claim {
  const closed = exactly('closed form', mxfp4Bits(2));
  const top = figures.of('upper half of the block', 'bits', 'top half', 'mxfp4 x2');
  const uniform = figures.of('uniform', 'bits', 'uniform', 'mxfp4 x2');
  const gaussian = figures.of('Gaussian', 'bits', 'gaussian', 'mxfp4 x2');
  const laplace = figures.of('Laplace', 'bits', 'laplace', 'mxfp4 x2');
  const isClosed = near(closed.value, 6.6, 0.05);
  return {
    id: 'mxfp4-bits',
    says: 'Two MXFP4 passes give about 6.6 effective bits.',
    got: `${inBits(closed)} bits in closed form for numbers in the upper half of their block's range (simulated: ${inBits(top)}), ${inBits(uniform)} for evenly spread ones; ${inBits(gaussian)} for Gaussian ones, ${inBits(laplace)} with longer tails.`,
    verdict: !isClosed ? 'not reproduced' : near(gaussian.value, 6.6, 0.25) ? 'reproduced' : 'in part',
    why: 'Steps of two passes hardly get finer towards zero, and Gaussian blocks of 32 seldom reach their power of two.',
    figures: [closed, top, uniform, gaussian, laplace],
  };
}

function mxfp8Bits(figures: Figures): Claim {
  const closed = exactly('closed form', floatBits(3));
  const gaussian = figures.of('Gaussian, nothing cut off', 'bits', 'gaussian', 'mxfp8, ceil');
  const ocp = figures.of('Gaussian, OCP scale', 'bits', 'gaussian', 'mxfp8');
  const holds = near(closed.value, 5.24, 0.02) && near(gaussian.value, 5.24, 0.05);
  return {
    id: 'mxfp8-bits',
    says: 'One MXFP8 pass has 5.24 effective bits.',
    got: `${inBits(closed)} bits in closed form, ${inBits(gaussian)} simulated for Gaussian numbers; ${inBits(ocp)} with the scale that the OCP specification suggests.`,
    verdict: holds ? 'reproduced' : 'not reproduced',
    why: 'A float of 3 bits after the point has the same relative error everywhere. The suggested scale cuts off what lies between 448 and 512 times it, which costs the rest.',
    figures: [closed, gaussian, ocp],
  };
}

/** Share of a bound that the largest error of a sample reaches. */
const TIGHT = 0.95;

function bounds(figures: Figures): Claim {
  // The largest of many errors: its deviations are no measure of what other seeds give, so the spread is what "tight" allows.
  const shares = ['int8 x1, 32', 'int8 x2, 32', 'mxfp4 x1', 'mxfp4 x2'].map((variant) => ({
    ...figures.of(variant, 'bits', 'of bound', variant),
    spread: 1 / TIGHT,
  }));
  const holds = shares.every(({ value }) => value <= 1 + 1e-9);
  const tight = shares.every(({ value }) => value > TIGHT);
  return {
    id: 'bounds',
    says: 'The error of an element is at most M/64516 (INT8, M the largest value) or alpha/64 (MXFP4, alpha its power of two), and these bounds are tight.',
    got: `The largest errors that were met are ${range(shares, percent)} of the bounds.`,
    verdict: holds && tight ? 'reproduced' : 'not reproduced',
    why: 'Both bounds are half of the last step; proved in docs/msd.md, equations 4 and 9.',
    figures: shares,
  };
}

function surpasses(figures: Figures): Claim {
  const ocp = figures.ratios('matmul', 'mxfp4 weights: mxfp8', 'mxfp4 weights: mxfp4 x2');
  const ceil = figures.ratios('matmul', 'mxfp4 weights: mxfp8, ceil', 'mxfp4 weights: mxfp4 x2');
  const int8 = figures.ratios('matmul', 'mxfp4 weights: mxfp4 x2', 'mxfp4 weights: int8 x1, 32');
  return {
    id: 'mxfp4-against-mxfp8',
    says: 'Two MXFP4 passes are more accurate than one MXFP8 pass.',
    got: `MXFP8 loses ${range(ocp)} times as much in products with MXFP4 weights, ${range(ceil)} times with a scale that cuts nothing off.`,
    verdict: [
      ...ocp,
      figures.ratio('matmul', 'gaussian', 'mxfp4 weights: mxfp8, ceil', 'mxfp4 weights: mxfp4 x2'),
    ].every(({ value }) => value > 1)
      ? 'reproduced'
      : 'in part',
    why: `The lead is smallest where a channel is large and its neighbours are small, which floats are good at. One INT8 digit per 32 numbers, at the price of one pass, loses ${range(int8)} times less than both MXFP4 passes.`,
    figures: [...named('OCP scale', ocp), ...named('nothing cut off', ceil), ...named('INT8 digit', int8)],
  };
}

function sameTime(): Claim {
  const machines = accelerators.flatMap(({ name, matrixTmacs: { fp4, fp8 } }) =>
    fp4 && fp8 ? [exactly(name, (2 * fp8) / fp4)] : [],
  );
  return {
    id: 'same-time',
    says: 'Two MXFP4 passes take as long as one MXFP8 pass.',
    got: `${range(machines)} times as long on ${machines.map(({ name }) => name).join(', ')}, by its data sheet.`,
    verdict: machines.every(({ value }) => near(value, 1, 0.05)) ? 'reproduced' : 'in part',
    why: 'Where FP4 runs at twice the rate of FP8, two passes of one are one of the other. Nothing was timed: there is no such unit here.',
    figures: machines,
  };
}

function noStall({ latency }: Models): Claim {
  const gains = (units: string): Figure[] =>
    latency
      .filter((point) => point.units === units && (point.M === 1 || point.M === 512))
      .map(({ machine, M, gain }) => exactly(`${machine}, M = ${M}`, gain));
  const [decoupled, coupled] = [gains('decoupled'), gains('coupled')];
  const most = Math.max(...decoupled.map(({ value }) => value));
  return {
    id: 'no-stall',
    says: 'Without dequantization, matrix units no longer wait for vector units.',
    got: `In the model, a product of 4096² INT8 weights with two passes is ${range(decoupled)} times as fast as dequantizing first where the units hand matrices to each other through memory, ${range(coupled)} times where they do so on chip.`,
    verdict: most > 1.5 && coupled.every(({ value }) => value < 1.5) ? 'in part' : 'reproduced',
    why: 'What is saved is the way through memory, so it is a claim about one kind of machine, and about few rows. Rates are those of data sheets; nothing was timed.',
    figures: [...decoupled, ...coupled],
  };
}

function kvTraffic({ traffic }: Models): Claim {
  const headSize = 128;
  const bytes = (kernel: Parameters<typeof bytesPerElement>[0]): number => bytesPerElement(kernel, headSize);
  const said = exactly('write-back over two passes', bytes('write-back') / bytes('passes'));
  const scaled = (rows: number, kernel: string): number =>
    traffic.find((point) => point.rows === rows && point.kernel === kernel)!.gain;
  const decode = exactly('with scales, one query', scaled(1, 'passes'));
  const prefill = exactly('with scales, 1024 queries', scaled(1024, 'passes'));
  const fused = exactly('fused over two passes', bytes('fused') / bytes('passes'));
  const float = exactly('BF16 cache over fused or MSD.js', bytes('float') / bytes('shared'));
  const here = exactly('write-back over MSD.js', bytes('write-back') / bytes('shared'));
  return {
    id: 'kv-traffic',
    says: 'Attention moves up to 2.5 times fewer bytes of keys and values.',
    got: `${short(said.value)} times fewer than a kernel that writes dequantized keys and values back, ${short(decode.value)} with scales counted and ${short(prefill.value)} for a prompt of 1024 tokens; ${short(fused.value)} times a fused kernel's, which reads INT8 once where two passes read it twice.`,
    verdict: near(said.value, 2.5, 0.01) ? (fused.value < 1 ? 'in part' : 'reproduced') : 'not reproduced',
    why: `5 bytes (1 read, 2 written, 2 read) against 2 reads of 1. A fused kernel moves ${short(float.value)} times fewer than a cache in BF16 needs. In MSD.js both digits go through a page while it is in registers: 1 byte, as a fused kernel, ${short(here.value)} times fewer than writing back.`,
    figures: [said, decode, prefill, fused, float, here],
  };
}

function int8Products(figures: Figures): Claim {
  const ratios = figures.ratios('matmul', 'bf16', 'int8 x2, row');
  const blocks = figures.ratios('matmul', 'bf16', 'int8 x2, 256');
  const given = figures.ratios('matmul-bf16', 'bf16', 'int8 x2, row');
  const one = figures.ratios('matmul', 'int8 x1, row', 'bf16');
  const after = figures.of('BF16 activations, scale after', 'matmul-bf16', 'gaussian', 'bf16, scale after');
  return {
    id: 'int8-products',
    says: 'Products on INT8 weights lose no more than with weights dequantized to BF16, often less.',
    got: `Dequantizing to BF16 loses ${range(ratios)} times as much as two passes with one scale per row, ${range(blocks)} with one per 256 numbers; ${range(given)} where activations are BF16 to begin with. One pass loses ${range(one)} times as much as BF16.`,
    verdict: [...ratios, ...given].every(({ value }) => value > 1) ? 'reproduced' : 'in part',
    why: `A weight times its scale keeps 8 bits in BF16. Integers up to 127 fit BF16 as they are, so a kernel that scales after the product, on BF16 activations, loses ${short(after.value)}: dequantizing first is not the most accurate way to use BF16.`,
    figures: [
      ...named('row', ratios),
      ...named('256', blocks),
      ...named('BF16 activations', given),
      ...named('one pass', one),
      after,
    ],
  };
}

function mxfp4Products(figures: Figures): Claim {
  const ratios = figures.ratios('matmul', 'mxfp4 weights: mxfp4 x2', 'mxfp4 weights: bf16');
  const three = figures.ratios('matmul', 'mxfp4 weights: mxfp4 x3', 'mxfp4 weights: bf16');
  const here = figures.ratios('matmul', 'mxfp4 weights: bf16', 'mxfp4 weights: int8 x2, 256');
  const total = ratios.map(({ name }) => againstFloats(figures, name));
  const isNoneLost = total.every(({ value }) => value <= 1 + NO_LOSS);
  return {
    id: 'mxfp4-products',
    says: 'The same on MXFP4 weights (the abstract does not say that its simulations leave them out).',
    got: `On the same weights two MXFP4 passes lose ${range(ratios)} times as much as BF16, three ${range(three)} times. Against weights that were never quantized, the whole error is ${range(total)} times BF16's.`,
    verdict: ratios.every(({ value }) => value <= 1) ? 'reproduced' : isNoneLost ? 'in part' : 'not reproduced',
    why: `BF16 holds MXFP4 weights exactly, and activations with 9 effective bits against less than 7. But one MXFP4 rounding has cost the weights so much that, measured with it, neither way adds anything. What MSD.js does with such weights, two INT8 digits, loses ${range(here)} times less than BF16.`,
    figures: [
      ...named('two passes', ratios),
      ...named('three passes', three),
      ...named('total', total),
      ...named('MSD.js', here),
    ],
  };
}

/** A share of the error that nobody would call a loss. */
const NO_LOSS = 0.05;

/**
 * The error of two MXFP4 passes against that of BF16, both with what quantizing Gaussian weights has lost: errors that have nothing to do
 * with each other add by their squares. n effective bits are a relative error of 2⁻ⁿ.
 */
function againstFloats(figures: Figures, distribution: string): Figure {
  const weights = 2 ** -figures.find('bits', 'gaussian', 'mxfp4 x1').value;
  const [passes, bf16] = ['mxfp4 weights: mxfp4 x2', 'mxfp4 weights: bf16'].map((variant) =>
    figures.find('matmul', distribution, variant),
  ) as [Summary, Summary];
  const value = Math.hypot(weights, passes.value) / Math.hypot(weights, bf16.value);
  return { name: distribution, value, spread: product(passes.spread, bf16.spread) };
}

function attention(figures: Figures): Claim {
  const row = figures.ratios('attention', 'bf16', 'int8 x2, row');
  const pages = figures.ratios('attention', 'bf16', 'int8 x2, pages');
  const one = figures.ratios('attention', 'int8 x1, pages', 'bf16');
  const total = figures.ratios('attention', 'total: bf16', 'total: int8 x2, pages');
  return {
    id: 'attention',
    says: 'The same for flash attention.',
    got: `BF16 loses ${range(row)} times as much as two passes with one scale for all probabilities of a query, ${range(pages)} times as much as MSD.js. One pass: ${range(one)} times BF16's loss.`,
    verdict: [...row, ...pages].every(({ value }) => value > 1) ? 'reproduced' : 'in part',
    why: `On the same INT8 keys and values. These have lost more before: measured against keys and values that were never quantized, BF16's error is ${range(total)} times that of two passes.`,
    figures: [...named('row', row), ...named('MSD.js', pages), ...named('one pass', one), ...named('total', total)],
  };
}
