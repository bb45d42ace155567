/**
 * What a cut costs: which glue is worth taking, and whether a model is worth cutting at all.
 *
 * Runs, inputs, outputs and bytes have prices that were measured, of onnxruntime-web 1.30 on one thread; those of a node, a step, a
 * region and a cut are estimates. They are compared with each other, so a machine that is twice as fast decides alike. Sizes
 * that only a run knows are taken for one token, and for a prompt of {@link PROMPT}, which counts less: a run of one token
 * happens that much more often.
 */
import type { TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';
import { fixedForOthers } from './fixed.ts';
import { partition, type Region } from './partition.ts';
import type { Unit } from './units.ts';

/** The machine that MSD's prices were fitted on, by its peak of int16 dots (`measurePeaks`): they go down as that goes up. */
export const FITTED_DOT_GMACS = 47;

/** Microseconds of a run of a session: with its first input and output, for each further input and output. */
const RUN = 12.4;
const FURTHER_INPUT = 2.7;
const FURTHER_OUTPUT = 4.7;
/** Of a run that is cut, and of each of its regions, whatever they do. */
const CUT = 5;
/** Of a pass through a body that is cut, beside its regions; ONNX Runtime takes next to nothing for one. */
const PASS = 3;
const REGION = 1.5;
/** Of a byte that is copied into ONNX Runtime's memory or out of it. */
const COPIED_BYTE = 1e-4;
/** Of a node, whatever it does. */
const ORT_NODE = 3;
const MSD_STEP = 0.6;
/** Of an element that is written. */
const ELEMENT = 5e-4;
/** Of an element in plain JavaScript. */
const HOST_ELEMENT = 1e-2;
/** Of a multiplication. */
const FLOAT_MAC = 1 / 12_000;
const MSD_FLOAT_MAC = 1 / 9_500;
/** Of a convolution in floats, whose rows are many; of a depthwise one, on either side. */
const MSD_CONV_FLOAT_MAC = 1 / 15_000;
const WINDOW_MAC = 1 / 4_000;
/** Of an element of a window that becomes part of a row. */
const GATHERED_ELEMENT = 2e-4;
export const MSD_MAC = 1 / 35_000;
/** Of a score: softmax, beside the multiplications. */
const SCORE = 1.5e-3;
/** Of an element of keys and values that becomes integers. */
const KEPT_ELEMENT = 2e-3;
const ATTENTION_MAC = 1 / 20_000;
/** ONNX Runtime turns a quantized weight into a float on every call, or brings one of 8 bits into another order. */
const ORT_WEIGHT = 2.5e-3;
const ORT_PACKED_WEIGHT = 2e-4;
/** Of a multiplication of 8-bit integers, and of a sum of them that is rounded to a code. */
const ORT_INTEGER_MAC = 1 / 36_000;
const ORT_ROUNDED_SUM = 4e-3;

/** Prices of what MSD does between products, for whoever looks at a run: microseconds on the machine that they were fitted on. */
export const OP_PRICES = {
  step: MSD_STEP,
  element: ELEMENT,
  floatMac: MSD_FLOAT_MAC,
  windowMac: WINDOW_MAC,
  dotGmacs: FITTED_DOT_GMACS,
} as const;

/** Tokens of the second operating point, and what it counts for. */
const PROMPT = 128;
const PROMPT_WEIGHT = 1 / 16;
/** A run of ONNX Runtime, whatever it is handed. */
const LEAST_CROSSING = (1 + PROMPT_WEIGHT) * RUN;

/** Sizes that prices are for: tokens of a run, and what that run counts. */
export interface OperatingPoint {
  readonly tokens: number;
  readonly weight: number;
}

const POINTS: readonly OperatingPoint[] = [
  { tokens: 1, weight: 1 },
  { tokens: PROMPT, weight: PROMPT_WEIGHT },
];

/** A model without quantized weights has to gain this much: nothing in it is slow in ONNX Runtime but the number of its nodes. */
const FLOAT_GAIN = 1.3;

/** Microseconds, predicted. */
export interface Price {
  /** NaN for what MSD does not have. */
  readonly msd: number;
  readonly ort: number;
}

export interface Sides {
  readonly regions: readonly Region[];
  /** Of each region, in order. */
  readonly prices: readonly Price[];
  /** Of all, cut and whole. */
  readonly total: Price;
  /** Why the model is better left whole; `undefined` to cut it. */
  readonly whole: string | undefined;
}

export class CostModel {
  readonly #typed: TypedGraph;
  readonly #isBody: boolean;
  readonly #points: readonly OperatingPoint[];
  readonly #prices = new Map<Unit, Price>();

  /** @param isBody of control flow, which ONNX Runtime runs without a crossing */
  constructor(typed: TypedGraph, isBody = false, points: readonly OperatingPoint[] = POINTS) {
    this.#typed = typed;
    this.#isBody = isBody;
    this.#points = points;
  }

  /** What a unit costs on either side, crossings aside. */
  priceOf(unit: Unit): Price {
    let price = this.#prices.get(unit) ?? unit.control?.price;
    if (!price) {
      price = this.#sum((tokens) => this.#price(unit, tokens));
      this.#prices.set(unit, price);
    }
    return price;
  }

  /** Attention that costs more here than a run of ONNX Runtime for it alone: keys that are the same in every run are kept nowhere. */
  isDear(unit: Unit): boolean {
    if (!unit.match?.scores || unit.match.product?.quantized) return false;
    const { msd, ort } = this.priceOf(unit);
    return msd > ort + this.crossing({ inputs: [...unit.uses], outputs: [...unit.outputs] });
  }

  /** What a foreign region costs beside its nodes. */
  crossing({ inputs, outputs }: Pick<Region, 'inputs' | 'outputs'>): number {
    const further = FURTHER_INPUT * Math.max(0, inputs.length - 1) + FURTHER_OUTPUT * Math.max(0, outputs.length - 1);
    const { ort } = this.#sum((tokens) => {
      const copied = [...inputs, ...outputs].reduce((sum, name) => sum + 4 * this.#elements(name, tokens), 0);
      return { msd: 0, ort: RUN + further + COPIED_BYTE * copied };
    });
    return ort;
  }

  /** What a region costs here, and what it would cost in a run of ONNX Runtime of its own. */
  regionPrice(region: Region): Price {
    const sum = (side: keyof Price): number =>
      region.units.reduce((total, unit) => total + this.priceOf(unit)[side], 0);
    const isOurs = region.claimed || region.control !== undefined;
    return { msd: isOurs ? sum('msd') : Number.NaN, ort: sum('ort') + this.crossing(region) };
  }

  /** What units cost less in ONNX Runtime, those that do. */
  gainOf(units: Iterable<Unit>): number {
    let gain = 0;
    for (const unit of units) {
      const { msd, ort } = this.priceOf(unit);
      gain += Math.max(0, msd - ort);
    }
    return gain;
  }

  /** Of a whole partition. */
  total(regions: readonly Region[]): number {
    let sum = this.#isBody ? PASS : CUT;
    for (const region of regions) {
      sum += REGION;
      const isOurs = region.claimed || region.control !== undefined;
      for (const unit of region.units) sum += this.priceOf(unit)[isOurs ? 'msd' : 'ort'];
      if (!isOurs) sum += this.crossing(region);
    }
    return sum;
  }

  /** Of a graph that is not cut. */
  whole(units: readonly Unit[]): number {
    const { inputs, outputs } = this.#typed.graph;
    const one = { inputs: inputs.map(({ name }) => name), outputs: outputs.map(({ name }) => name) };
    return units.reduce((sum, unit) => sum + this.priceOf(unit).ort, this.#isBody ? 0 : this.crossing(one));
  }

  #sum(at: (tokens: number) => Price): Price {
    let [msd, ort] = [0, 0];
    for (const { tokens, weight } of this.#points) {
      const price = at(tokens);
      msd += weight * price.msd;
      ort += weight * price.ort;
    }
    return { msd, ort };
  }

  #elements(name: string, tokens: number): number {
    const dims = this.#typed.infos.get(name)?.dims;
    return dims ? dims.reduce((product: number, dim) => product * sizeAt(dim, tokens), 1) : tokens;
  }

  #price({ match, nodes, outputs }: Unit, tokens: number): Price {
    const written = outputs.reduce((sum, name) => sum + this.#elements(name, tokens), 0);
    const ort = match?.isFreeInOrt ? 0 : ORT_NODE * nodes.length + ELEMENT * written * nodes.length;
    if (!match) return { msd: 0, ort };
    if (match.place === 'host') return { msd: MSD_STEP + HOST_ELEMENT * written, ort };
    if (match.op === 'reshape' || match.op === 'cast') return { msd: 0, ort };
    const { product, scores } = match;
    const attention = scores ? attentionPrice(scores, (match.caches ?? []).length > 0, tokens) : { msd: 0, ort: 0 };
    const msd = MSD_STEP + ELEMENT * written + attention.msd;
    if (!product) return { msd, ort: ort + attention.ort };
    // Rows times K times N: of a product inside attention, K is about what attention writes of each row.
    const macs = written * (scores ? product.N : product.K);
    if (match.op === 'windows') return { msd: msd + WINDOW_MAC * macs, ort: ort + WINDOW_MAC * macs };
    const gathered = product.gathers ? (GATHERED_ELEMENT * macs) / product.N : 0;
    const own = product.quantized
      ? MSD_MAC * padded(product)
      : product.gathers === undefined
        ? MSD_FLOAT_MAC
        : MSD_CONV_FLOAT_MAC;
    const inOrt = product.quantized ? ortPrice(product, macs, written) : FLOAT_MAC * macs + attention.ort;
    return { msd: msd + own * (product.products ?? 1) * macs + gathered, ort: ort + inOrt };
  }
}

type Product = NonNullable<Match['product']>;

/** Outputs lie in panels of so many, k in steps. */
const [PANEL, STEP] = [16, 32];

/** How much more a product multiplies here than it has to. */
export const padded = ({ N, K }: Product): number =>
  (Math.ceil(N / PANEL) * PANEL * Math.ceil(K / STEP) * STEP) / Math.max(1, N * K);

/** What a product with quantized weights costs in ONNX Runtime. */
function ortPrice({ N, K, inOrt }: Product, macs: number, written: number): number {
  const rounded = inOrt === 'codes' ? ORT_ROUNDED_SUM * written : 0;
  if (inOrt === 'integers' || inOrt === 'codes') return ORT_INTEGER_MAC * macs + ORT_PACKED_WEIGHT * N * K + rounded;
  return FLOAT_MAC * macs + (inOrt === 'floats' ? 0 : ORT_WEIGHT * N * K);
}

/** Of its sums. A past is taken for one of a prompt, and so are keys that are no others than queries. */
export function attentionPrice({ dims, width }: NonNullable<Match['scores']>, isKept: boolean, tokens: number): Price {
  const rowSize = dims[2];
  const [batch, heads, rows, keys] = dims.map((size, i) => {
    const isPast = isGrowing(size) || (i === 3 && isOther(size, rowSize));
    return isPast ? PROMPT : sizeAt(size, tokens);
  }) as [number, number, number, number];
  const scores = batch * heads * rows * keys;
  const perKey = batch * heads * width;
  return {
    msd: ATTENTION_MAC * scores * width + SCORE * scores + KEPT_ELEMENT * perKey * (isKept ? rows : keys),
    ort: FLOAT_MAC * scores * width + SCORE * scores + COPIED_BYTE * 4 * perKey * keys,
  };
}

/** Sizes that a file calls differently: keys of an encoder, beside one token. */
const isOther = (a: Size, b: Size | undefined): boolean => typeof a === 'string' && !a.startsWith('?') && a !== b;

function sizeAt(size: Size, tokens: number): number {
  return typeof size === 'number' ? size : /batch/i.test(size) ? 1 : tokens;
}

/** Graphs as they are priced. */
export interface Pricing {
  /** Take everything, whatever it costs. */
  readonly all: boolean;
  /** A body of control flow, which ONNX Runtime would run without a crossing. */
  readonly isBody?: boolean;
  /** Would the unit be planned for every pass of a loop anew? */
  readonly varies?: (unit: Unit) => boolean;
}

/** Decides for every unit that MSD could take, and whether to cut at all. */
export function chooseSides(typed: TypedGraph, units: readonly Unit[], { all, isBody, varies }: Pricing): Sides {
  const model = new CostModel(typed, isBody);
  const { graph } = typed;
  const isLeft = (unit: Unit): boolean => growsWithTokens(typed, unit) || varies?.(unit) === true || model.isDear(unit);
  const left = new Set<Unit>(all ? [] : units.filter(isLeft));
  const isTaken = (unit: Unit): boolean => unit.match !== undefined && !left.has(unit);
  const isForOthers = fixedForOthers(graph, units, isTaken);
  const isClaimed = (unit: Unit): boolean => isTaken(unit) && !isForOthers(unit);
  let regions = partition(graph, units, isClaimed);
  let cut = model.total(regions);
  // Where ONNX Runtime has nothing to do yet, there is a run to pay for first.
  const isSettled = !isBody && regions.every(({ claimed }) => claimed) && model.gainOf(units) < LEAST_CROSSING;
  for (let changed = !all && !isSettled; changed; ) {
    changed = false;
    for (const group of glueGroups(regions)) {
      for (const unit of group) left.add(unit);
      const candidate = partition(graph, units, isClaimed);
      const cost = model.total(candidate);
      if (cost < cut) {
        regions = candidate;
        cut = cost;
        changed = true;
        break;
      }
      for (const unit of group) left.delete(unit);
    }
  }
  const prices = regions.map((region) => model.regionPrice(region));
  const total = { msd: cut, ort: model.whole(units) };
  return { regions, prices, total, whole: all ? undefined : wholeByCost(units, total) };
}

/** All of it in ONNX Runtime: one way through a model of which others have something to take. */
export function allForeign(typed: TypedGraph, units: readonly Unit[], isBody: boolean): Sides {
  const model = new CostModel(typed, isBody);
  const regions = partition(
    typed.graph,
    units.map((unit) => (unit.control ? { ...unit, control: undefined, inputs: unit.uses } : unit)),
    () => false,
  );
  const prices = regions.map((region) => model.regionPrice(region));
  return { regions, prices, total: { msd: model.total(regions), ort: model.whole(units) }, whole: undefined };
}

/** A plan is made for sizes: what has others with every token would be planned with every token. */
function growsWithTokens({ infos, hasPast }: TypedGraph, { match }: Unit): boolean {
  if (match?.place !== 'device' || !hasPast) return false;
  const free = new Set([...(match.caches ?? []), ...(match.late ?? [])]);
  return [...match.inputs, ...match.outputs].some((name) => !free.has(name) && infos.get(name)?.dims?.some(isGrowing));
}

function wholeByCost(units: readonly Unit[], { msd: cut, ort: whole }: Price): string | undefined {
  const isQuantized = units.some(({ match, control }) => match?.product?.quantized || control?.isQuantized);
  if (!isQuantized && units.some(isSpeltOutAttention) && units.some(({ match }) => match?.op === 'softmax'))
    return 'without quantized weights, attention that is spelt out is left to the fusions of ONNX Runtime';
  const gain = isQuantized ? 1 : FLOAT_GAIN;
  if (cut * gain < whole) return undefined;
  const [with_, without] = [Math.round(cut), Math.round(whole)];
  return `a cut does not pay: predicted ${with_} µs with MSD, ${without} µs without${with_ < without ? `, less than ${gain} times as fast` : ''}`;
}

/** A product of two computed operands: scores of queries and keys, or what they weigh. */
const isSpeltOutAttention = ({ match }: Unit): boolean => match?.op === 'float product' && match.product === undefined;

/**
 * Parts of claimed regions that hang together and hold no quantized product. Those that look alike (one in each layer) are
 * one group: they are left to ONNX Runtime together, or not at all.
 */
function glueGroups(regions: readonly Region[]): Unit[][] {
  const groups = new Map<string, Unit[]>();
  for (const region of regions.filter(({ claimed }) => claimed))
    for (const part of components(region.units)) {
      if (part.some(({ match }) => match?.product?.quantized)) continue;
      const key = part.flatMap(({ nodes }) => nodes.map(({ opType }) => opType)).join(' ');
      const group = groups.get(key);
      if (group) group.push(...part);
      else groups.set(key, part);
    }
  return [...groups.values()];
}

/** Units that are connected by values they hand to each other. */
function components(units: readonly Unit[]): Unit[][] {
  const producers = new Map<string, Unit>();
  const partOf = new Map<Unit, Unit[]>();
  for (const unit of units) {
    for (const name of unit.outputs) producers.set(name, unit);
    let part = [unit];
    for (const name of unit.inputs) {
      const producer = producers.get(name);
      const other = producer && partOf.get(producer)!;
      if (!other || other === part) continue;
      for (const member of part) other.push(member);
      for (const member of part) partOf.set(member, other);
      part = other;
    }
    for (const member of part) partOf.set(member, part);
  }
  return [...new Set(partOf.values())];
}
