/**
 * Foreign regions as ONNX Runtime sessions: each structure is written as a model of its own and created once, in
 * topological order, because the types of a region's inputs come from the sessions that produce them.
 */
import { dataTypeCode, dataTypeName, jsDataType, STRING } from '../data-types.ts';
import { ForeignRunError, messageOf } from '../errors.ts';
import { type Constant, type Graph, type GraphNode, usesOf } from '../ir/graph.ts';
import type { Infos } from '../ir/infer.ts';
import type { Info } from '../ir/info.ts';
import {
  createOrtTensor,
  type OrtFeeds,
  type OrtMetadata,
  type OrtModule,
  type OrtRunOptions,
  type OrtTensor,
  usesProxy,
} from '../ort.ts';
import { makersOf, SMALL_BYTES } from '../passes/folded.ts';
import type { Region } from '../plan/partition.ts';
import { type SharedStructure, type Structure, shareStructures, structureOf } from '../plan/structure.ts';
import { CutRefused } from '../plan/whole.ts';
import { type TensorRef, tensorByteLength, tensorFieldsButName, tensorFloats, tensorRange } from '../read/tensor.ts';
import type { ValueType } from '../read/types.ts';
import { Message } from '../write/message.ts';
import { type EncodedSpec, type ValueSpec, writeModel } from '../write/model.ts';
import { writtenNode } from '../write/node.ts';
import type { Watch } from './abort.ts';
import { ExternalConstants, type RegionModel, withExternal } from './external.ts';
import { createFast, fastForm, hasFastForm, isOutOfMemory, MAX_SPARE_BYTES, type RegionSession } from './fast-form.ts';
import { createAtSomeLevel } from './level.ts';
import { createOrtSession } from './ort-session.ts';

/** A region with the session that runs it. Positions correspond: `session` has the names of another region's values. */
export interface ForeignRegion {
  /** Of the region. */
  readonly index: number;
  readonly session: RegionSession;
  /** Runs it. @throws {@link ForeignRunError} */
  readonly run: (feeds: () => OrtFeeds, fetches: readonly string[], options: OrtRunOptions) => Promise<OrtFeeds>;
  readonly inputs: readonly { readonly name: string; readonly value: string }[];
  readonly outputs: readonly { readonly name: string; readonly value: string }[];
  /** Constants that the session is fed because they differ between the regions that share it. */
  readonly constants: readonly { readonly name: string; readonly tensor: OrtTensor }[];
  /** Nodes that the session has in a faster form. */
  readonly fast: readonly GraphNode[];
}

/** All foreign regions and their sessions. */
export interface ForeignPlan {
  readonly regions: readonly ForeignRegion[];
  /** One per structure; the owner releases them. */
  readonly sessions: readonly RegionSession[];
  /** The optimization level that was used, if ONNX Runtime refused the requested one. */
  readonly level: string | undefined;
  /** Types of all values that regions make or get. */
  readonly types: ReadonlyMap<string, ValueType>;
}

/** Makes the sessions of bodies of a region that is control flow. */
export type CreateNested = (
  region: Region,
  types: ReadonlyMap<string, ValueType>,
) => Promise<Pick<ForeignPlan, 'sessions' | 'level'> & { readonly outputs: readonly (ValueType | undefined)[] }>;

/**
 * Creates the sessions of all foreign regions.
 *
 * @param regions all regions, in order of execution.
 * @throws {@link CutRefused} when a value cannot cross, or ONNX Runtime refuses a region.
 */
export async function createForeign(
  ort: OrtModule,
  graph: Graph,
  regions: readonly Region[],
  options: object,
  infos: Infos,
  watch?: Watch,
  nested?: CreateNested,
): Promise<ForeignPlan> {
  const structures = new Map<Region, Structure>();
  for (const region of regions)
    if (!region.claimed && !region.control) structures.set(region, structureOf(graph, region));
  const sharing = new Map<string, SharedStructure>();
  for (const shared of shareStructures(graph, [...structures.values()])) sharing.set(shared.members[0]!.key, shared);

  const types = new Map<string, ValueType>();
  for (const input of graph.inputs) types.set(input.name, input.type);
  const built = new Map<string, Built>();
  const sessions: RegionSession[] = [];
  const foreign: ForeignRegion[] = [];
  let level: string | undefined;
  try {
    for (const region of regions) {
      watch?.check();
      if (region.control) {
        const made = await nested!(region, types);
        sessions.push(...made.sessions);
        level ??= made.level;
        addTypes(types, region, graph, (position) => made.outputs[position]);
        continue;
      }
      const structure = structures.get(region);
      if (!structure) {
        for (const name of region.outputs)
          types.set(name, { kind: 'tensor', elemType: infos.get(name)?.elemType ?? 0, dims: undefined });
        continue;
      }
      const { fed } = sharing.get(structure.key)!;
      const inputs = region.inputs.map((name) => inputType(region, types.get(name), infos.get(name)));
      const key = `${structure.key}${JSON.stringify(inputs.map((type) => type ?? null))}`;
      let entry = built.get(key);
      if (!entry) {
        const slow = region.nodes.map((node) => hasFastForm(node, infos));
        const write = (isFast: boolean) => {
          // A model that is kept beside its session has its own copies.
          const large = new ExternalConstants(usesProxy(ort) || slow.includes(true));
          return large.model(writeRegion(graph, structure, fed, inputs, isFast ? slow : [], large));
        };
        entry = { from: structure, ...(await create(ort, region, write, slow, options)) };
        built.set(key, entry);
        sessions.push(entry.session);
        level ??= entry.level;
      }
      const { outputMetadata } = entry.session;
      addTypes(types, region, graph, (position) => typeOfMetadata(outputMetadata[position]));
      foreign.push(bind(ort, graph, structure, entry, fed));
    }
  } catch (error) {
    await Promise.all(sessions.map((session) => session.release()));
    throw error;
  }
  return { regions: foreign, sessions, level, types };
}

interface Made {
  readonly session: RegionSession;
  /** For each of the region's nodes: is it in a faster form? */
  readonly fast: readonly boolean[];
  readonly level: string | undefined;
}

interface Built extends Made {
  readonly from: Structure;
}

async function create(
  ort: OrtModule,
  region: Region,
  write: (isFast: boolean) => RegionModel,
  slow: readonly boolean[],
  options: object,
): Promise<Made> {
  const model = write(false);
  if (slow.includes(true) && model.byteLength <= MAX_SPARE_BYTES) {
    try {
      return { session: await createFast(ort, write(true), model, options), fast: slow, level: undefined };
    } catch {
      // Older versions don't know the form.
    }
  }
  try {
    const given = withExternal(options, model);
    return { ...(await createAtSomeLevel(ort, given, (at) => createOrtSession(ort, model.bytes, at))), fast: [] };
  } catch (error) {
    throw new CutRefused(`region ${region.index} was refused: ${messageOf(error)}`, { cause: error });
  }
}

/** An error of ONNX Runtime, as ours. */
export function foreignError(where: string, error: unknown): ForeignRunError {
  return new ForeignRunError(`ort: ${where}: ${messageOf(error)}`, { cause: error });
}

function addTypes(
  types: Map<string, ValueType>,
  region: Region,
  graph: Graph,
  typeOf: (position: number) => ValueType | undefined,
): void {
  const final = new Set(graph.outputs.map((output) => output.name));
  region.outputs.forEach((name, position) => {
    const type = typeOf(position);
    const crosses = !final.has(name) || (graph.consumers.get(name)?.length ?? 0) > 0;
    if (crosses && (!type || type.elemType === STRING)) {
      const what = type ? dataTypeName(type.elemType) : 'something that is not a tensor';
      throw new CutRefused(`'${name}' would cross a cut as ${what}`);
    }
    if (type) types.set(name, type);
  });
}

/**
 * The element type that a session reports. Its shape is left out: ONNX Runtime infers some wrongly (Split without constant
 * sizes), which is harmless inside a graph, but would be enforced on a region's inputs.
 */
function typeOfMetadata(metadata: OrtMetadata | undefined): ValueType | undefined {
  const elemType = metadata?.isTensor && metadata.type ? dataTypeCode(metadata.type) : undefined;
  return elemType === undefined ? undefined : { kind: 'tensor', elemType, dims: undefined };
}

function bind(
  ort: OrtModule,
  graph: Graph,
  own: Structure,
  { from, session, fast }: Built,
  fed: readonly number[],
): ForeignRegion {
  const pair = (names: readonly string[], values: readonly string[]): { name: string; value: string }[] =>
    values.map((value, position) => ({ name: names[position]!, value }));
  const constants = fed.map((position) => {
    const { tensor } = graph.constants.get(own.lifted[position]!) as Extract<Constant, { kind: 'tensor' }>;
    const data = tensorFloats(tensor).slice(); // a copy, since the file's bytes are not kept
    return { name: from.lifted[position]!, tensor: createOrtTensor(ort, 'float32', data, tensor.dims) };
  });
  const { region } = own;
  const inputs = pair(from.region.inputs, region.inputs);
  const outputs = pair(from.region.outputs, region.outputs);
  const faster = region.nodes.filter((_, position) => fast[position]);
  const { index } = region;
  const run: ForeignRegion['run'] = (...given) => runRegion(index, session, ...given);
  return { index, session, run, inputs, outputs, constants, fast: faster };
}

async function runRegion(
  index: number,
  session: RegionSession,
  ...given: Parameters<ForeignRegion['run']>
): Promise<OrtFeeds> {
  try {
    return await session.run(...given).catch(async (error: unknown) => {
      if (!session.spare || !isOutOfMemory(error)) throw error;
      return (await session.spare()).run(...given);
    });
  } catch (error) {
    throw foreignError(`region ${index}`, error);
  }
}

/** Writes a region as a model: its nodes verbatim or in their fast form, its constants, typed inputs, untyped outputs. */
function writeRegion(
  graph: Graph,
  structure: Structure,
  fed: readonly number[],
  types: readonly (ValueType | undefined)[],
  fast: readonly boolean[],
  large: ExternalConstants,
): Uint8Array {
  const { region, lifted } = structure;
  const fedNames = new Set(fed.map((position) => lifted[position]!));
  const nodes: EncodedSpec[] = [];
  const initializers: EncodedSpec[] = [];
  const inputs = region.inputs.map((name, position) => valueSpec(name, types[position]));
  const { made, constants } = constantsOf(graph, region.constants);
  for (const name of constants) {
    const constant = graph.constants.get(name)!;
    if (constant.kind === 'node') nodes.push({ encoded: writtenNode(constant.node) });
    else if (constant.kind === 'sparse') throw new CutRefused(`initializer '${name}' is sparse`);
    else if (!fedNames.has(name)) initializers.push({ encoded: tensorMessage(name, constant.tensor, large) });
    else inputs.push({ name, dtype: 'float32', dims: constant.tensor.dims });
  }
  for (const node of made) nodes.push({ encoded: writtenNode(node) });
  region.nodes.forEach((node, position) => {
    nodes.push({ encoded: fast[position] ? fastForm(node) : writtenNode(node) });
  });
  const functions = calledFunctions(graph, region);
  return writeModel({
    // From version 4 on initializers need not be listed as inputs, from 8 on there are functions.
    irVersion: Math.max(functions.length > 0 ? 8 : 4, graph.irVersion),
    opsets: Object.fromEntries(graph.opsets),
    graph: { nodes, initializers, inputs, outputs: region.outputs.map((name) => ({ name })) },
    functions,
  });
}

/**
 * What a region's model says about an input. Rules of ONNX take the scores of an attention whose operands have no rank for one number,
 * and an If makes room for as much: where there may be such scores, ranks are written. Sizes stay open.
 */
function inputType({ nodes }: Region, type: ValueType | undefined, info: Info | undefined): ValueType | undefined {
  if (!type || type.dims || !info?.dims || !nodes.some((node) => hasGraph(node) || hasScores(node))) return type;
  return { ...type, dims: info.dims.map(() => null) };
}

const hasScores = ({ opType, outputs }: GraphNode): boolean => opType === 'Attention' && Boolean(outputs[3]);

/** The file's functions, if a region may call one. */
function calledFunctions({ functions }: Graph, { nodes }: Region): EncodedSpec[] {
  const called = new Set(functions.map(operatorOf));
  const mayCall = nodes.some(
    (node) => called.has(operatorOf({ name: node.opType, domain: node.domain })) || hasGraph(node),
  );
  return mayCall ? functions.map(({ range }) => ({ encoded: range })) : [];
}

const operatorOf = ({ domain, name }: { readonly domain: string; readonly name: string }): string =>
  JSON.stringify([domain, name]);

const hasGraph = ({ attributes }: GraphNode): boolean => [...attributes.values()].some(({ kind }) => kind === 'graph');

/**
 * Constants to write, and nodes that compute large ones from others: as few bits they take less memory than as floats.
 */
function constantsOf(graph: Graph, names: readonly string[]) {
  const made = new Set<GraphNode>();
  const constants = new Set<string>();
  for (const name of names) {
    const folded = graph.folded?.get(name);
    const makers = folded && tensorByteLength(folded.tensor) > SMALL_BYTES ? makersOf(graph, name) : [];
    for (const node of makers) made.add(node);
    if (makers.length === 0) constants.add(name);
  }
  const outputs = new Set([...made].flatMap((node) => node.outputs));
  for (const node of made) for (const name of usesOf(node)) if (!outputs.has(name)) constants.add(name);
  return { made, constants: [...constants].filter((name) => !outputs.has(name)) };
}

function valueSpec(name: string, type: ValueType | undefined): ValueSpec {
  const dtype = type && jsDataType(type.elemType);
  if (!dtype)
    throw new CutRefused(`'${name}' would cross a cut as ${type ? dataTypeName(type.elemType) : 'an unknown type'}`);
  return type.dims ? { name, dtype, dims: type.dims } : { name, dtype };
}

/** A constant under the name that nodes use, its elements by reference. */
function tensorMessage(name: string, tensor: TensorRef, large: ExternalConstants): Message {
  const range = tensor.elemType === STRING ? undefined : tensorRange(tensor);
  const outside = range && large.message(name, tensor, range);
  if (outside) return outside;
  const message = new Message();
  if (range) message.ints(1, tensor.dims).int(2, tensor.elemType).bytes(9, range);
  else for (const fields of tensorFieldsButName(tensor)) message.raw(fields);
  return message.string(8, name);
}
