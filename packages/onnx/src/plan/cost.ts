/**
 * The price of a cut: decides which nodes between products are worth taking, and whether a model is worth cutting at
 * all.
 *
 * What MSD does is priced by the models of @msd/core/theory. For ONNX Runtime there are none: runs, inputs, outputs and bytes have
 * prices that were measured, of onnxruntime-web 1.30 on one thread; those of its nodes, and of a region and a cut, are estimates.
 * Sizes that only a run knows are taken for one token, and for a prompt of {@link PROMPT}, which counts less: a run of one token
 * happens that much more often.
 */
import type { MachinePeaks } from '@msd/core/peaks';
import type { TypedGraph } from '../ir/infer.ts';
import { isGrowing, type Size } from '../ir/info.ts';
import type { Match } from '../passes/matcher.ts';
import { fixedForOthers } from './fixed.ts';
import { partition, type Region } from './partition.ts';
import { macsOf, type Sizes, unitWork, workTime } from './unit-work.ts';
import type { Unit } from './units.ts';

/**
 * The machine that ONNX Runtime was measured on. Plans are always made for this machine, because what runs where
 * decides bits, and these must be the same on every machine.
 */
export const PRICED_MACHINE: MachinePeaks = { dotGmacs: 47, readGigabytes: 30 };

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
/** Of a node of ONNX Runtime, whatever it does, and of an element that it writes. */
const ORT_NODE = 3;
const ORT_ELEMENT = 5e-4;
/** Of a step in plain JavaScript, and of an element there. */
const HOST_STEP = 0.6;
const HOST_ELEMENT = 1e-2;
/** Of a multiplication in ONNX Runtime: of floats, of windows that slide, of 8-bit integers. */
const ORT_FLOAT_MAC = 1 / 12_000;
const ORT_WINDOW_MAC = 1 / 4_000;
const ORT_INTEGER_MAC = 1 / 36_000;
/** Of a score: softmax, beside the multiplications. */
const ORT_SCORE = 1.5e-3;
/** ONNX Runtime turns a quantized weight into a float on every call, or brings one of 8 bits into another order. */
const ORT_WEIGHT = 2.5e-3;
const ORT_PACKED_WEIGHT = 2e-4;
/** Of a sum of integers that it rounds to a code. */
const ORT_ROUNDED_SUM = 4e-3;

/** Tokens of the second operating point, and what it counts for. */
const PROMPT = 128;
const PROMPT_WEIGHT = 1 / 16;
/** A run of ONNX Runtime, whatever it is handed. */
const LEAST_CROSSING = (1 + PROMPT_WEIGHT) * RUN;

/** Sizes that prices are for, and what a run of them counts. */
export interface OperatingPoint {
  readonly sizes: Sizes;
  readonly weight: number;
}

const POINTS: readonly OperatingPoint[] = [
  { sizes: sizesFor(1), weight: 1 },
  { sizes: sizesFor(PROMPT), weight: PROMPT_WEIGHT },
];

/** What only a run knows. A past is taken for one of a prompt, and so are keys that are no others than queries. */
function sizesFor(tokens: number): Sizes {
  const of = (size: Size): number => (typeof size === 'number' ? size : /batch/i.test(size) ? 1 : tokens);
  return { of, keys: (size, rows) => (isGrowing(size) || isOther(size, rows) ? PROMPT : of(size)) };
}

/** Sizes that a file calls differently: keys of an encoder, beside one token. */
const isOther = (a: Size, b: Size | undefined): boolean => typeof a === 'string' && !a.startsWith('?') && a !== b;

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
      price = this.#sum((sizes) => this.#price(unit, sizes));
      this.#prices.set(unit, price);
    }
    return price;
  }

  /** What a foreign region costs beside its nodes. */
  crossing({ inputs, outputs }: Pick<Region, 'inputs' | 'outputs'>): number {
    const further = FURTHER_INPUT * Math.max(0, inputs.length - 1) + FURTHER_OUTPUT * Math.max(0, outputs.length - 1);
    const { ort } = this.#sum((sizes) => {
      const copied = [...inputs, ...outputs].reduce((sum, name) => sum + 4 * this.#elements(name, sizes), 0);
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

  /** How much less the units cost in ONNX Runtime that are cheaper there. */
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

  /** Of it, what models of @msd/core/theory say: all else has measured prices. */
  modelled(regions: readonly Region[]): number {
    return unitsOfModels(regions).reduce((sum, unit) => sum + this.priceOf(unit).msd, 0);
  }

  /** Of a graph that is not cut. */
  whole(units: readonly Unit[]): number {
    const { inputs, outputs } = this.#typed.graph;
    const one = { inputs: inputs.map(({ name }) => name), outputs: outputs.map(({ name }) => name) };
    return units.reduce((sum, unit) => sum + this.priceOf(unit).ort, this.#isBody ? 0 : this.crossing(one));
  }

  #sum(at: (sizes: Sizes) => Price): Price {
    let [msd, ort] = [0, 0];
    for (const { sizes, weight } of this.#points) {
      const price = at(sizes);
      msd += weight * price.msd;
      ort += weight * price.ort;
    }
    return { msd, ort };
  }

  #elements(name: string, sizes: Sizes): number {
    // Of an unknown rank: one for each token.
    const dims = this.#typed.infos.get(name)?.dims ?? [''];
    return dims.reduce((product: number, dim) => product * sizes.of(dim), 1);
  }

  /** Elements of a unit's outputs. */
  written({ outputs }: Unit, sizes: Sizes): number {
    return outputs.reduce((sum, name) => sum + this.#elements(name, sizes), 0);
  }

  #price(unit: Unit, sizes: Sizes): Price {
    const { match, nodes } = unit;
    const written = this.written(unit, sizes);
    const ort = match?.isFreeInOrt ? 0 : (ORT_NODE + ORT_ELEMENT * written) * nodes.length;
    if (!match) return { msd: 0, ort };
    if (match.place === 'host') return { msd: HOST_STEP + HOST_ELEMENT * written, ort };
    if (!isModelled(unit)) return { msd: 0, ort };
    const msd = workTime(PRICED_MACHINE, unitWork(match, sizes, written));
    const macs = macsOf(match, sizes, written);
    return { msd, ort: ort + ortAttention(match, sizes) + ortProduct(match, macs, written) };
  }
}

/** Units that @msd/core/theory is asked about. */
export const unitsOfModels = (regions: readonly Region[]): Unit[] =>
  regions.flatMap(({ claimed, units }) => (claimed ? units.filter(isModelled) : []));

/** Other dims of a value, and other names, are nothing on the device. */
const isModelled = ({ match }: Unit): boolean =>
  match?.place === 'device' && match.op !== 'reshape' && match.op !== 'cast';

/** The price of a product with weights of the file in ONNX Runtime. */
function ortProduct({ op, product }: Match, macs: number, written: number): number {
  if (!product) return 0;
  if (op === 'windows') return ORT_WINDOW_MAC * macs;
  const { N, K, inOrt, quantized } = product;
  const rounded = inOrt === 'codes' ? ORT_ROUNDED_SUM * written : 0;
  if (inOrt === 'integers' || inOrt === 'codes') return ORT_INTEGER_MAC * macs + ORT_PACKED_WEIGHT * N * K + rounded;
  return ORT_FLOAT_MAC * macs + (quantized && inOrt !== 'floats' ? ORT_WEIGHT * N * K : 0);
}

function ortAttention({ scores }: Match, sizes: Sizes): number {
  if (!scores) return 0;
  const { dims, width } = scores;
  const [batch, heads, rows] = dims.map(sizes.of) as [number, number, number];
  const keys = sizes.keys(dims[3]!, dims[2]);
  return batch * heads * keys * ((ORT_FLOAT_MAC * width + ORT_SCORE) * rows + 4 * COPIED_BYTE * width);
}

/** How graphs are priced. */
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
  const isLeft = (unit: Unit): boolean => growsWithTokens(typed, unit) || varies?.(unit) === true;
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
  return { regions, prices, total, whole: all ? undefined : wholeByCost(units, total, model.modelled(regions)) };
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

function wholeByCost(units: readonly Unit[], { msd: cut, ort: whole }: Price, modelled: number): string | undefined {
  const isQuantized = units.some(({ match, control }) => match?.product?.quantized || control?.isQuantized);
  const count = (op: string): number => units.filter(({ match }) => match?.op === op).length;
  if (!isQuantized && units.some(isSpeltOutAttention) && count('softmax') > count('attention'))
    return 'without quantized weights, attention without an attention operator is left to the fusions of ONNX Runtime';
  const gain = isQuantized ? 1 : FLOAT_GAIN;
  if (cut * gain < whole) return undefined;
  const [with_, ours, without] = [cut, modelled, whole].map(Math.round) as [number, number, number];
  const least = with_ < without ? `, less than ${gain} times as fast` : '';
  return `a cut does not pay: predicted ${with_} µs with MSD (${ours} by its models, the rest by prices of ONNX Runtime), ${without} µs without${least}`;
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
