/**
 * Topology and constants -> the same model with MSD's ops and packed constants. Constants keep their names and places; only
 * what they hold changes.
 */
import type { FormatId, KvType } from '@msd/core';
import { rowsFor } from '../activations.ts';
import { roundedGain } from '../convolution/price.ts';
import { type NodeReport, weightsReport } from '../report.ts';
import { sizeOf } from '../shapes.ts';
import type { QuantizedSpec } from '../spec.ts';
import { type Encoded, encode } from '../weights/encode.ts';
import type { Constants } from '../weights/source.ts';
import type { WeightView } from '../weights/view.ts';
import { takeAttention } from './attention/take.ts';
import { type ClaimOptions, claim, otherReader } from './claim.ts';
import { type Epilogue, epilogueOf } from './fuse.ts';
import { withLeftAlone } from './left-alone.ts';
import type { LoopPlan } from './loops/plan.ts';
import { hasLoops, LOOP_OP, loopCode } from './loops/steps.ts';
import { formatFor, whyUnwanted } from './options.ts';
import type { Use } from './recognise.ts';
import { GATES_OP } from './recurrent/run.ts';
import { takeCells } from './recurrent/take.ts';
import { type Scopes, scopesOf } from './scopes.ts';
import {
  type AttrValue,
  asString,
  type FunctionDef,
  type NodeDef,
  parseInput,
  type Scope,
  type Topology,
} from './topology.ts';
import { windowAttr } from './window-attr.ts';

export interface RewriteOptions extends ClaimOptions {
  readonly format: FormatId;
  readonly blockSize: number | null | undefined;
  /** 1x1 convolutions of CNNs get scales per block. */
  readonly convolutionBlockSize: number;
  /** Take what follows a product into it. */
  readonly fuse: boolean;
  /** Take attention, with keys and values of this type. */
  readonly attention: KvType | false;
  /** Activations of products, by the names of these. */
  readonly activations: ReadonlyMap<string, Float32Array>;
  /** Leave layers alone that may be trained. */
  readonly keepTrainable: boolean;
}

export interface Rewritten {
  readonly topology: Topology;
  /** New values of constants, by name. */
  readonly packed: ReadonlyMap<string, { readonly spec: QuantizedSpec; readonly data: Int32Array<ArrayBuffer> }>;
  /** Constants that nobody reads any more. */
  readonly dropped: ReadonlySet<string>;
  readonly nodes: readonly NodeReport[];
}

/** Names of the signature's tensors, or undefined if it names none. */
export type Signature = { readonly outputs?: Readonly<Record<string, { readonly name?: string }>> } | undefined;

export function rewriteGraph(
  topology: Topology,
  signature: Signature,
  initializer: Topology | undefined,
  constants: Constants,
  options: RewriteOptions,
): Rewritten {
  const outputs = Object.values(signature?.outputs ?? {}).flatMap(({ name }) => (name === undefined ? [] : [name]));
  const all = scopesOf(topology, outputs.length ? outputs : undefined, initializer);
  const { main, bodies, others, all: scopes } = all;

  const { claims, floats, refusals } = claim(all, constants, options);
  const packed = new Map<string, { spec: QuantizedSpec; data: Int32Array<ArrayBuffer> }>();
  const replaced = new Map<Scope, Map<string, NodeDef>>(scopes.map((scope) => [scope, new Map()]));
  const code = hasLoops(topology) ? loopCode() : undefined;
  const isLooped = code?.loopNodes(all) ?? (() => false);
  const loops = options.fuse && code ? code.findLoops(all, constants) : { plans: [], reports: [] };
  const attention = takeAttention(scopes, constants, options.attention);
  const nodes: NodeReport[] = refusals.flatMap(({ node, reason }) => {
    const { name, op } = node;
    return attention.parts.has(node)
      ? []
      : [{ name, op, where: 'tfjs', reason: attention.reasons.get(node) ?? reason }];
  });
  nodes.push(...attention.reports);
  const cells = options.fuse ? takeCells(scopes, constants) : undefined;
  nodes.push(...(cells?.reports ?? []));
  for (const [scope, own] of cells?.nodes ?? []) for (const node of own) replaced.get(scope)!.set(node.name, node);
  for (const [scope, own] of attention.nodes) for (const node of own) replaced.get(scope)!.set(node.name, node);

  const endOf = (use: Use): Epilogue =>
    epilogueOf(options.fuse ? use : { ...use, scope: noReaders(use.scope) }, constants);
  for (const use of floats) {
    const end = endOf(use);
    const node = msdNode(use, end);
    replaced.get(use.scope)!.set(node.name, node);
    nodes.push(nodeReport(use, end));
  }
  for (const { constant, view, uses } of claims) {
    const source = constants.get(constant)!;
    const stored = source.stored();
    const isConvolution = uses.some(({ convolution }) => convolution !== undefined);
    // Products of a loop may become parts of a program, which levels nothing.
    const canLevel = uses.every(({ op, node, scope }) => op === 'MsdMatMul' && !isLooped(node, scope));
    const format = { ...formatFor(isConvolution, options), canLevel };
    const encoded = encode(stored, view, format, activationsOf(view, uses, options));
    if ('reason' in encoded) {
      const { reason } = encoded;
      nodes.push(...uses.map(({ node: { name, op } }) => ({ name, op, where: 'tfjs', reason }) as const));
      continue;
    }
    packed.set(constant, encoded.packed);
    const how = source.isLoaded && stored.kind === 'uint8' ? 'integers recovered' : encoded.how;
    for (const use of uses) {
      const epilogue = endOf(use);
      const node = msdNode(use, epilogue, encoded.packed.spec);
      replaced.get(use.scope)!.set(node.name, node);
      nodes.push(reportOf(use, epilogue, { ...encoded, how }, source.byteLength, uses.length));
    }
    for (const scope of scopes) {
      const node = scope.nodes.get(constant);
      if (node) replaced.get(scope)!.set(constant, packedConstant(node, encoded.packed.data.length));
    }
  }

  const added = new Map<Scope, NodeDef[]>();
  nodes.push(...loops.reports);
  for (const plan of loops.plans) {
    const { outer } = plan.loop;
    const own = encodeSliced(plan, all, constants, options);
    const taken =
      own instanceof Map
        ? code!.takeLoop(
            plan,
            (constant) => (packed.get(constant) ?? own.get(constant)?.encoded.packed)?.spec,
            (scope, name) => {
              const node = replaced.get(scope)?.get(name) ?? scope.nodes.get(name);
              const data = own.get(name)?.encoded.packed.data;
              return node && data ? packedConstant(node, data.length) : node;
            },
          )
        : own;
    if (!('nodes' in taken) || !(own instanceof Map)) {
      nodes.push(taken as NodeReport);
      continue;
    }
    for (const [constant, { encoded, bytes, products }] of own) {
      packed.set(constant, encoded.packed);
      for (const scope of scopes) {
        const node = scope.nodes.get(constant);
        if (node) replaced.get(scope)!.set(constant, packedConstant(node, encoded.packed.data.length));
      }
      const weights = weightsReport(encoded, bytes, products.length);
      for (const { name, op } of products) {
        const at = nodes.findIndex((node) => node.name === name);
        nodes.splice(at < 0 ? nodes.length : at, at < 0 ? 0 : 1, { name, op, where: 'msd', msdOp: LOOP_OP, weights });
      }
    }
    for (const node of taken.nodes) {
      if (outer.nodes.has(node.name)) replaced.get(outer)!.set(node.name, node);
      else added.set(outer, [...(added.get(outer) ?? []), node]);
    }
    reportLoop(nodes, plan, taken.report);
  }

  const dropped = new Set<string>();
  const rebuilt = (scope: Scope): NodeDef[] => {
    const changed = replaced.get(scope)!;
    const all = [...scope.nodes.values()].map((node) => changed.get(node.name) ?? node);
    all.push(...(added.get(scope) ?? []));
    const before = reachable(scope.nodes, scope.outputs);
    const after = reachable(new Map(all.map((node) => [node.name, node])), scope.outputs);
    const gone = new Set(
      all.flatMap(({ name, op }) =>
        before.has(name) && !after.has(name) && !op.startsWith('Placeholder') ? [name] : [],
      ),
    );
    // Nobody asks for these, and what they read is no longer there.
    const isCut = ({ name, input = [] }: NodeDef) =>
      !after.has(name) && !gone.has(name) && input.some((own) => gone.has(parseInput(own).node));
    for (let cut = all.filter(isCut); cut.length; cut = all.filter(isCut)) for (const { name } of cut) gone.add(name);
    for (const { name, op } of all) if (op === 'Const' && gone.has(name)) dropped.add(name);
    return all.filter(({ name }) => !gone.has(name));
  };
  const node = rebuilt(main);
  const rest = bodies.map(({ scope }) => rebuilt(scope));
  const functions: FunctionDef[] = bodies.flatMap(({ body, scope }, i) => {
    if (!isUncalled(body, topology, [node, ...rest])) return [{ ...body, nodeDef: rest[i]! }];
    for (const { name, op } of scope.nodes.values()) if (op === 'Const') dropped.add(name);
    rest[i] = [];
    return [];
  });
  // A name may be a constant of another part of the model as well.
  for (const scope of others) for (const name of scope.nodes.keys()) dropped.delete(name);
  for (const { name } of [...node, ...functions.flatMap(({ nodeDef = [] }) => nodeDef)]) dropped.delete(name);
  const library = topology.library && { ...topology.library, function: functions };
  return {
    topology: { ...topology, node, ...(library && { library }) },
    packed,
    dropped,
    nodes: withLeftAlone(nodes, scopes, [node, ...rest], constants, packed),
  };
}

/** A function that was called, and is no more: a loop of it has become a node. */
function isUncalled(
  { signature: { name } }: FunctionDef,
  before: Topology,
  after: readonly (readonly NodeDef[])[],
): boolean {
  const calls = ({ attr = {} }: NodeDef) => Object.values(attr).some((value) => value?.func?.name === name);
  const bodies = (before.library?.function ?? []).map(({ nodeDef = [] }) => nodeDef);
  return [before.node, ...bodies].some((nodes) => nodes.some(calls)) && !after.some((nodes) => nodes.some(calls));
}

interface EncodedSlices {
  readonly encoded: Encoded;
  readonly bytes: number;
  readonly products: readonly NodeDef[];
}

/** Constants that only a loop multiplies with, column by column; or why that stays. */
function encodeSliced(
  { loop, sliced }: LoopPlan,
  scopes: Scopes,
  constants: Constants,
  options: RewriteOptions,
): Map<string, EncodedSlices> | NodeReport {
  const all = new Map<string, EncodedSlices>();
  for (const [name, { view, products, readers }] of sliced) {
    const source = constants.get(name)!;
    const stranger = otherReader(
      scopes,
      name,
      readers.map((node) => ({ node })),
    );
    const size = sizeOf(source.shape);
    const unwanted = whyUnwanted({ size, isTable: false, isConvolution: false, isCnn: false }, options);
    const format = { ...formatFor(false, options), canLevel: false };
    const encoded = stranger || unwanted ? undefined : encode(source.stored(), view, format);
    const reason = stranger ? `the weights are also read by ${stranger}` : unwanted;
    if (!encoded || 'reason' in encoded)
      return { name: loop.name, op: loop.op, where: 'tfjs', reason: reason ?? (encoded as { reason: string }).reason };
    all.set(name, { encoded, bytes: source.byteLength, products });
  }
  return all;
}

/** What was a cell or a product of its own is part of the loop now. */
function reportLoop(nodes: NodeReport[], { loop, products }: LoopPlan, report: NodeReport): void {
  const names = new Set(products.map(({ name }) => name));
  const isInside = ({ name }: NodeReport) => {
    const node = loop.inner.nodes.get(name);
    return node !== undefined && (loop.inner !== loop.outer || loop.has(node));
  };
  for (let i = nodes.length - 1; i >= 0; i--) {
    const own = nodes[i]!;
    if (own.where !== 'msd' || !isInside(own)) continue;
    if (own.msdOp === GATES_OP) nodes.splice(i, 1);
    else if (names.has(own.name)) nodes[i] = { ...own, msdOp: LOOP_OP, fused: [] };
  }
  nodes.push(report);
}

/** Of the first product that there are some for. */
function activationsOf(view: WeightView, uses: readonly Use[], { activations }: RewriteOptions) {
  const name = uses.map(({ node }) => node.name).find((own) => activations.has(own));
  // What a convolution meets are images: its rows are windows of them.
  if (view.kind !== 'matrix' || name === undefined || uses.some(({ op }) => op === 'MsdConv2D')) return undefined;
  return rowsFor(activations.get(name), view.K, name);
}

/** Without readers nothing is fused. */
const noReaders = (scope: Scope): Scope => ({ ...scope, consumers: new Map() });

function msdNode(
  use: Use,
  { last, bias, activation, alpha, slopes, shape, shapeFirst }: Epilogue,
  spec?: QuantizedSpec,
): NodeDef {
  const attr: Record<string, AttrValue> = {};
  if (spec) attr.spec = asString(JSON.stringify(spec));
  if (use.convolution && use.op !== 'MsdMatMul') attr.window = windowAttr(use.convolution.window);
  if (bias !== undefined) attr.has_bias = { b: true };
  if (slopes !== undefined) attr.has_slopes = { b: true };
  if (shape !== undefined) attr.has_shape = { b: true };
  if (shapeFirst) attr.shape_first = { b: true };
  if (activation !== undefined) attr.activation = asString(activation);
  if (alpha !== undefined) attr.alpha = { f: alpha };
  if (use.contracted !== undefined) {
    attr.contracted = { i: use.contracted };
    attr.free = { list: { i: use.free! } };
  }
  const control = (use.node.input ?? []).filter((input) => input.startsWith('^'));
  const extra = [bias, slopes, shape].filter((input) => input !== undefined);
  return { name: last.name, op: use.op, input: [...use.inputs, use.weightInput, ...extra, ...control], attr };
}

function packedConstant(node: NodeDef, length: number): NodeDef {
  const tensor = { dtype: 'DT_INT32', tensorShape: { dim: [{ size: `${length}` }] } };
  return {
    name: node.name,
    op: 'Const',
    input: [],
    attr: { dtype: { type: 'DT_INT32' }, value: { tensor } as AttrValue },
  };
}

function reachable(nodes: ReadonlyMap<string, NodeDef>, outputs: Iterable<string>): Set<string> {
  const seen = new Set<string>();
  const pending = [...outputs];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    for (const input of nodes.get(name)?.input ?? []) pending.push(parseInput(input).node);
  }
  return seen;
}

function nodeReport({ node, op, convolution }: Use, { last, inner }: Epilogue): NodeReport {
  const fused = [...inner, last].slice(1).map(({ op: fusedOp }) => fusedOp);
  const gain = convolution && { predictedGain: roundedGain(convolution.gain) };
  return { name: node.name, op: node.op, where: 'msd', msdOp: op, fused, ...gain };
}

function reportOf(use: Use, end: Epilogue, encoded: Encoded, bytesBefore: number, sharedBy: number): NodeReport {
  return { ...nodeReport(use, end), weights: weightsReport(encoded, bytesBefore, sharedBy) };
}
