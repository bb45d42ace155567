/**
 * `@msd/onnx/inspect`: what MSD would do with a model, without loading it. Of a URL only records and small tensors are fetched, by HTTP
 * ranges; nothing is packed and ONNX Runtime is not started.
 */

import { dataTypeName } from '../data-types.ts';
import { type BuiltWay, graphsOf, matchesOf, unbuiltWay } from '../execute/control/build.ts';
import { kvBytesPerToken } from '../execute/create-cut.ts';
import { cutReports, innerNodes, mergedNodes, wholeReports } from '../execute/describe.ts';
import { type Draft, draftVariants, mayMultiply } from '../execute/drafts.ts';
import { loadOperators } from '../execute/families.ts';
import { neededLocations } from '../execute/files.ts';
import { inlining } from '../execute/inlining.ts';
import { type MsdOptions, resolveOptions } from '../execute/options.ts';
import { needsOf } from '../execute/residents.ts';
import { Branches, type Variants } from '../inline/branches.ts';
import type { Graph } from '../ir/graph.ts';
import type { AbortSignalLike } from '../read/fetch.ts';
import { isOrtFormat, type ModelRecord, readModel } from '../read/model.ts';
import type { ByteSource } from '../read/source.ts';
import { type TensorRef, tensorByteLength, tensorRange } from '../read/tensor.ts';
import type { Dim } from '../read/types.ts';
import type { NodeReport, RegionReport } from '../report.ts';
import { formatChooser } from '../weights/quantize-option.ts';
import { openBeside, openRecords, type Reading } from './open.ts';
import { RangedSource, whileFetching } from './ranged.ts';
import { type Place, standIn } from './stand-in.ts';
import { type SizeOf, type Work, workOf } from './work.ts';

export { PRICED_MACHINE } from '../plan/cost.ts';
export type { Products } from '../plan/unit-work.ts';
export type { WorkAttention, WorkStep } from './claimed-work.ts';
export type { OperatorWork, SizeOf, Work } from './work.ts';

/** How much may be fetched: of any file, and as a share of a large one. */
const LEAST_BYTES = 8e6;
const SHARE = 0.02;

/** How a model is looked at. */
export interface InspectOptions {
  /** What a session would be created with. */
  readonly msd?: MsdOptions | undefined;
  /** Where external data is, if not beside the model: a path, a URL or bytes, by its name in the model. */
  readonly externalData?: readonly { readonly path: string; readonly data: string | Uint8Array }[] | undefined;
  /** What requests carry: an authorization, say. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignalLike | undefined;
  /** After how long without an answer, or with no more of a whole file, it is given up, in milliseconds; 0 = never. Default: a minute. */
  readonly timeoutMs?: number | undefined;
  /**
   * Bytes that may be fetched by ranges. Elements that are not fetched because of it count as zeros. Default: 8 MB, or
   * 2 % of the file.
   */
  readonly maxBytes?: number | undefined;
  /** Called with the number of bytes whenever some came from the network. */
  readonly onBytes?: ((count: number) => void) | undefined;
  /** Called if a server has no ranges: may the whole file be fetched? Default: up to 8 MB. */
  readonly mayDownload?: ((url: string, byteLength: number | undefined) => boolean | Promise<boolean>) | undefined;
}

/** An input or output of the model. */
export interface InspectedValue {
  readonly name: string;
  /** As ONNX Runtime's JavaScript layer calls it. */
  readonly type: string;
  /** A size, a name, or null = open. `undefined`: of any rank. */
  readonly dims: readonly Dim[] | undefined;
  /** Of an input that chooses rows of a table: how many there are. */
  readonly rows?: number | undefined;
}

/** What MSD would do with a model. */
export interface Inspection {
  readonly inputs: readonly InspectedValue[];
  readonly outputs: readonly InspectedValue[];
  /** Versions of operator sets by domain; '' is ai.onnx. */
  readonly opsets: Readonly<Record<string, number>>;
  /** As a session's report has them. */
  readonly nodes: readonly NodeReport[];
  readonly regions: readonly RegionReport[];
  /** Why the model would run in ONNX Runtime as a whole. */
  readonly whole: string | undefined;
  /** ONNX Runtime sessions that one run goes through, at most. */
  readonly foreignRunsPerCall: number;
  readonly bytes: {
    /** The model's file and its external data. */
    readonly file: number;
    /** Weights in them, by element type. */
    readonly weights: Readonly<Record<string, number>>;
    /** MSD's packed weights and constants. */
    readonly packed: number;
    /** Weights that MSD reads from the file row by row, as tables of embeddings: they stay there, or in JavaScript's memory. */
    readonly tables: number;
    /** Weights that go to ONNX Runtime. */
    readonly ort: number;
    /** What a token adds to caches of keys and values. */
    readonly kvPerToken: number;
  };
  /** Bytes that came from the network. */
  readonly readBytes: number;
  /** More than `maxBytes` were asked for: some small constants were taken for zeros. */
  readonly isCut: boolean;
  /** What a run is, for given sizes: one for every way through the model's branches. */
  work(sizeOf: SizeOf): readonly Work[];
  /**
   * The model with made-up elements where nothing was fetched: for measuring how long it loads and runs.
   *
   * @returns bytes of the model and its external data, as `InferenceSession.create` takes them; the caller's
   */
  standIn(): {
    readonly model: Uint8Array;
    readonly externalData: { readonly path: string; readonly data: Uint8Array }[];
  };
  /** Closes files. */
  close(): void;
}

/**
 * Looks at a model.
 *
 * @param model a path, a URL or bytes
 * @throws `OnnxFormatError` when it is none, `ReadError` when it cannot be read
 * @example
 * ```ts
 * const seen = await inspectModel('https://example.org/model_q4.onnx');
 * console.log(seen.whole ?? `${seen.foreignRunsPerCall} runs of ONNX Runtime per token`, seen.readBytes);
 * seen.close();
 * ```
 */
export async function inspectModel(model: string | Uint8Array, options: InspectOptions = {}): Promise<Inspection> {
  const { headers, signal, timeoutMs, maxBytes, externalData = [], mayDownload } = options;
  let readBytes = 0;
  const onBytes = (count: number): void => {
    readBytes += count;
    options.onBytes?.(count);
  };
  const reading: Reading = {
    headers,
    signal,
    timeoutMs,
    onBytes,
    mayDownload,
    allowance: { left: maxBytes ?? LEAST_BYTES },
    share: maxBytes === undefined ? SHARE : 0,
  };
  const msd = resolveOptions(options.msd ?? {});
  const source = await openRecords(model, reading);
  const sources = new Set([source]);
  try {
    if (await whileFetching(() => isOrtFormat(source))) return ofOrtFormat(source, () => readBytes);
    const record = await whileFetching(() => readModel(source));
    // All of them: a tool need not be small.
    const parts = { ...(await loadOperators()), control: inlining.control };
    const { branches, planned } = await whileFetching(() => {
      const all = new Branches(record);
      return { branches: all, planned: all.planned(mayMultiply) };
    });
    const given = new Map(externalData.map(({ path, data }) => [path.replace(/^(\.\/)+/, ''), data]));
    await openBeside(record.files, neededLocations(planned), model, given, reading);
    for (const each of record.files.sources.values()) sources.add(each);
    const { claim, exact, quantize, relax: relaxes } = msd;
    // Scales are not read: one that no kernel takes is rare, and found when it is packed.
    const how = {
      all: claim === 'all',
      exact,
      relaxes,
      chooseFormat: formatChooser(quantize),
      checksScales: false,
      parts,
    };
    const { drafts, reason } = await whileFetching(() => draftVariants(branches, planned, how));
    return await whileFetching(() => inspectionOf(record, planned, drafts, reason, msd, sources, () => readBytes));
  } catch (error) {
    for (const each of sources) each.close();
    throw error;
  }
}

function inspectionOf(
  record: ModelRecord,
  planned: Variants,
  drafts: readonly Draft[],
  whole: string | undefined,
  { kvCache }: ReturnType<typeof resolveOptions>,
  sources: ReadonlySet<ByteSource>,
  readBytes: () => number,
): Inspection {
  const isCut = whole === undefined;
  const ways = isCut ? drafts.map(unbuiltWay) : [];
  const needs = needsOf(ways.flatMap(matchesOf));
  const tables = [...needs.resources.values()].flatMap((each) =>
    each.kind === 'table' && !needs.resources.has(`matrix ${each.twin}`) ? each.table.data : [],
  );
  const reports = isCut
    ? cutReports(ways, innerNodes(ways.flatMap((way) => graphsOf(way).map(({ graph }) => graph))), {
        matrices: new Map(),
      })
    : { nodes: mergedNodes(drafts.map((draft) => wholeReports(draft, whole))), regions: [] };
  const graphs = drafts.map(({ typed: { graph } }) => graph);
  const weights = weightsOf(planned.all.map(({ graph }) => graph));
  const foreign = isCut
    ? weightsOf(
        drafts.map(({ typed: { graph }, sides }) =>
          constantsAmong(
            graph,
            sides!.regions.flatMap((region) => (region.claimed || region.control ? [] : region.constants)),
          ),
        ),
      )
    : weights;
  const all = [...sources];
  return {
    inputs: graphs[0]!.inputs.map(({ name, type }) => inspectedValue(name, type, rowsOf(graphs[0]!, name))),
    outputs: record.graph.outputs.map(({ name, type }) => inspectedValue(name, type)),
    opsets: Object.fromEntries(record.opsets),
    ...reports,
    whole,
    foreignRunsPerCall: isCut ? Math.max(...ways.map(foreignRunsOf)) : 1,
    bytes: {
      file: all.reduce((sum, { byteLength }) => sum + byteLength, 0),
      weights: byType(weights),
      packed: needs.initialBytes,
      tables: tables.reduce((sum, tensor) => sum + tensorByteLength(tensor), 0),
      ort: foreign.reduce((sum, tensor) => sum + tensorByteLength(tensor), 0),
      kvPerToken: Math.max(0, ...ways.map((way) => kvBytesPerToken(way, kvCache))),
    },
    get readBytes() {
      return readBytes();
    },
    isCut: all.some((each) => each instanceof RangedSource && each.isCut),
    work: (sizeOf) => drafts.map((draft) => workOf(draft, sizeOf)),
    standIn() {
      const places = weights.flatMap((tensor) => placeOf(tensor) ?? []);
      return {
        model: standIn(record.source, places),
        externalData: [...record.files.sources].map(([path, each]) => ({ path, data: standIn(each, places) })),
      };
    },
    close() {
      for (const each of all) each.close();
    },
  };
}

/** Runs of ONNX Runtime on a way, and in one pass of each body on it. */
function foreignRunsOf({ draft, bodies }: BuiltWay): number {
  const runs = draft.sides!.regions.map((region) => {
    if (!region.control) return region.claimed ? 0 : 1;
    const inner = bodies.get(region)!.map((each) => Math.max(...each.map(foreignRunsOf)));
    return Math.max(0, ...inner);
  });
  return runs.reduce((a, b) => a + b, 0);
}

/** ONNX Runtime's own files say nothing of themselves. */
function ofOrtFormat(source: ByteSource, readBytes: () => number): Inspection {
  const bytes = { file: source.byteLength, weights: {}, packed: 0, tables: 0, ort: source.byteLength, kvPerToken: 0 };
  return {
    ...{ inputs: [], outputs: [], opsets: {}, nodes: [], regions: [], foreignRunsPerCall: 1, isCut: false },
    whole: 'a file in ORT format',
    bytes,
    get readBytes() {
      return readBytes();
    },
    work: () => [],
    standIn: () => ({ model: standIn(source, []), externalData: [] }),
    close: () => source.close(),
  };
}

const inspectedValue = (
  name: string,
  { elemType, dims }: { readonly elemType: number; readonly dims: readonly Dim[] | undefined },
  rows?: number,
): InspectedValue => ({ name, type: dataTypeName(elemType), dims, ...(rows !== undefined && { rows }) });

/** What hands ids on as they are. */
const MOVES = /^(Cast|Identity|Reshape|Flatten|Squeeze|Unsqueeze|Expand|Slice|Transpose)$/;

/** Of the smallest table that a value chooses rows of, if nothing is computed of it before. */
function rowsOf(graph: Graph, value: string, depth = 0): number | undefined {
  const found: number[] = [];
  for (const { opType, inputs, outputs } of graph.consumers.get(value) ?? []) {
    if (MOVES.test(opType) && inputs[0] === value && depth < 8)
      found.push(rowsOf(graph, outputs[0]!, depth + 1) ?? Infinity);
    const isTable = /^Gather/.test(opType) && inputs[1] === value;
    const isEmbedding = /EmbedLayerNormalization/.test(opType);
    const table = isTable ? inputs[0]! : isEmbedding ? inputs[inputs[0] === value ? 2 : 4] : undefined;
    const constant = graph.constants.get(table ?? '');
    if (constant?.kind === 'tensor') found.push(constant.tensor.dims[0] ?? Infinity);
  }
  const rows = Math.min(...found);
  return Number.isFinite(rows) ? rows : undefined;
}

/** A graph with some of its constants only. */
const constantsAmong = (graph: Graph, names: readonly string[]): Pick<Graph, 'constants'> => ({
  constants: new Map(
    names.flatMap((name) => (graph.constants.has(name) ? [[name, graph.constants.get(name)!] as const] : [])),
  ),
});

/** Tensors of the file, each once. */
function weightsOf(graphs: readonly Pick<Graph, 'constants'>[]): TensorRef[] {
  const tensors = new Map<string, TensorRef>();
  for (const { constants } of graphs)
    for (const constant of constants.values()) {
      if (constant.kind !== 'tensor') continue;
      const { proto } = constant.tensor;
      tensors.set(`${proto.source.name} ${proto.offset}`, constant.tensor);
    }
  return [...tensors.values()].filter(({ elemType }) => dataTypeName(elemType) !== 'string');
}

function byType(tensors: readonly TensorRef[]): Record<string, number> {
  const bytes: Record<string, number> = {};
  for (const tensor of tensors) {
    const type = dataTypeName(tensor.elemType);
    bytes[type] = (bytes[type] ?? 0) + tensorByteLength(tensor);
  }
  return bytes;
}

function placeOf(tensor: TensorRef): Place | undefined {
  const { storage, elemType } = tensor;
  if (storage.kind === 'external' && !storage.files.sources.has(storage.location)) return undefined;
  const range = tensorRange(tensor);
  return range && { ...range, elemType };
}
