/**
 * Topology and constants -> the same model with MSD's ops and packed constants. Constants keep their names and places; only
 * what they hold changes.
 */
import type { FormatId, KvType } from '@msd/core';
import { rowsFor } from '../activations.ts';
import { roundedGain } from '../convolution/price.ts';
import { type NodeReport, weightsReport } from '../report.ts';
import type { QuantizedSpec } from '../spec.ts';
import { type Encoded, encode } from '../weights/encode.ts';
import type { Constants } from '../weights/source.ts';
import type { WeightView } from '../weights/view.ts';
import { takeAttention } from './attention/take.ts';
import { type ClaimOptions, claim } from './claim.ts';
import { type Epilogue, epilogueOf } from './fuse.ts';
import { withLeftAlone } from './left-alone.ts';
import { hasLoops, loopCode } from './loops/steps.ts';
import { formatFor } from './options.ts';
import type { Use } from './recognise.ts';
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

/** A model while it is rewritten. */
export interface Rewriting {
  readonly all: Scopes;
  readonly constants: Constants;
  readonly options: RewriteOptions;
  readonly packed: Map<string, { readonly spec: QuantizedSpec; readonly data: Int32Array<ArrayBuffer> }>;
  /** What is there now, by what was there. */
  readonly replaced: ReadonlyMap<Scope, Map<string, NodeDef>>;
  /** New nodes of a scope. */
  readonly added: Map<Scope, NodeDef[]>;
  readonly nodes: NodeReport[];
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

  nodes.push(...loops.reports);
  const state: Rewriting = { all, constants, options, packed, replaced, added: new Map(), nodes };
  for (const plan of loops.plans) code!.applyLoop(plan, state);

  const dropped = new Set<string>();
  const rebuilt = (scope: Scope): NodeDef[] => {
    const changed = replaced.get(scope)!;
    const all = [...scope.nodes.values()].map((node) => changed.get(node.name) ?? node);
    all.push(...(state.added.get(scope) ?? []));
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

export function packedConstant(node: NodeDef, length: number): NodeDef {
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
