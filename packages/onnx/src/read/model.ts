/**
 * ModelProto and GraphProto: the file's records, in its order. What they mean together is the IR's business (ir/graph.ts).
 */
import { operatorName } from '../data-types.ts';
import { OnnxFormatError } from '../errors.ts';
import { Cursor } from './cursor.ts';
import { type Attribute, type NodeRecord, readAttribute, readNode, sparseName } from './node.ts';
import type { ByteRange, ByteSource } from './source.ts';
import { type ExternalFiles, readTensor, type TensorRef } from './tensor.ts';
import { readValueInfo, type ValueInfo } from './types.ts';
import { headOf, whatIsIt } from './what-is-it.ts';

/** A sparse initializer, which is only ever passed on. */
export interface SparseRef {
  readonly name: string;
  readonly range: ByteRange;
}

/** A GraphProto's records. */
export interface GraphRecord {
  readonly name: string;
  readonly nodes: readonly NodeRecord[];
  readonly initializers: readonly TensorRef[];
  readonly sparse: readonly SparseRef[];
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  readonly valueInfo: readonly ValueInfo[];
}

/** A FunctionProto's records: an operator that the file itself says in terms of others. */
export interface FunctionRecord {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes that a call may leave out, with their AttributeProtos. */
  readonly defaults: ReadonlyMap<string, { readonly attribute: Attribute; readonly range: ByteRange }>;
  readonly nodes: readonly NodeRecord[];
  readonly opsets: ReadonlyMap<string, number>;
  /** The whole FunctionProto. */
  readonly range: ByteRange;
}

/** A ModelProto's records. */
export interface ModelRecord {
  readonly source: ByteSource;
  readonly irVersion: number;
  /** Operator set versions by domain; '' is ai.onnx. */
  readonly opsets: ReadonlyMap<string, number>;
  /** Model-local functions. */
  readonly functions: readonly FunctionRecord[];
  readonly graph: GraphRecord;
  readonly files: ExternalFiles;
}

/** True for ONNX Runtime's own flatbuffer format (.ort), which is not ONNX. */
export function isOrtFormat(source: ByteSource): boolean {
  if (source.byteLength < 8) return false;
  const head = source.read(4, 4);
  return head[0] === 0x4f && head[1] === 0x52 && head[2] === 0x54 && head[3] === 0x4d; // "ORTM"
}

/**
 * Reads a model's structure; initializers stay where they are.
 *
 * @throws {@link OnnxFormatError} when the bytes are no ONNX model.
 * @example
 * ```ts
 * const model = readModel(bytesSource(bytes));
 * model.graph.nodes.map((node) => node.opType);
 * ```
 */
export function readModel(source: ByteSource): ModelRecord {
  try {
    return readRecord(source);
  } catch (error) {
    const what = error instanceof OnnxFormatError ? whatIsIt(headOf(source)) : undefined;
    if (what === undefined) throw error;
    throw new OnnxFormatError(`read: ${source.name}: model, expected an ONNX file, got ${what}.`, { cause: error });
  }
}

function readRecord(source: ByteSource): ModelRecord {
  const cursor = Cursor.over(source, 'ModelProto');
  const files: ExternalFiles = { locations: new Set(), sources: new Map() };
  const opsets = new Map<string, number>();
  const graph = emptyGraph();
  let irVersion = 0;
  const functions: FunctionRecord[] = [];
  let hasGraph = false;
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        irVersion = cursor.int();
        break;
      case 7:
        // Twice is one graph in two parts: that is how protobuf merges messages.
        readGraph(cursor.message('GraphProto'), files, graph);
        hasGraph = true;
        break;
      case 8:
        readOpset(cursor.message('OperatorSetIdProto'), opsets);
        break;
      case 25:
        functions.push(readFunction(cursor.message('FunctionProto'), files));
        break;
      default:
        cursor.skip();
    }
  }
  if (!hasGraph)
    throw new OnnxFormatError(`read: ${source.name}: model, expected a graph, got none. Is it an ONNX file?`);
  return { source, irVersion, opsets, functions, graph, files };
}

/** Names of all operators of a model: those of functions and subgraphs, too. */
export function operatorsOf({ graph, functions }: Pick<ModelRecord, 'graph' | 'functions'>): ReadonlySet<string> {
  const nodes = [graph, ...functions].flatMap((each) => each.nodes);
  return new Set(nodes.flatMap((node) => [operatorName(node), ...node.operatorsInside]));
}

function readOpset(cursor: Cursor, to: Map<string, number>): void {
  let domain = '';
  let version = 0;
  while (cursor.next()) {
    if (cursor.field === 1) domain = cursor.string();
    else if (cursor.field === 2) version = cursor.int();
    else cursor.skip();
  }
  to.set(domain === 'ai.onnx' ? '' : domain, version);
}

function readFunction(cursor: Cursor, files: ExternalFiles): FunctionRecord {
  let name = '';
  let domain = '';
  let overload = '';
  const inputs: string[] = [];
  const outputs: string[] = [];
  const nodes: NodeRecord[] = [];
  const opsets = new Map<string, number>();
  const attributes = new Map<string, Attribute>();
  const ranges: ByteRange[] = [];
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        name = cursor.string();
        break;
      case 4:
        inputs.push(cursor.string());
        break;
      case 5:
        outputs.push(cursor.string());
        break;
      case 7:
        nodes.push(readNode(cursor.message('NodeProto'), files));
        break;
      case 9:
        readOpset(cursor.message('OperatorSetIdProto'), opsets);
        break;
      case 10:
        domain = cursor.string();
        break;
      case 11: {
        const message = cursor.message('AttributeProto');
        ranges.push(message.whole());
        readAttribute(message, attributes, files, {
          captures: new Set(),
          files,
          references: false,
          operators: new Set(),
        });
        break;
      }
      case 13:
        overload = cursor.string();
        break;
      default:
        cursor.skip();
    }
  }
  if (domain === 'ai.onnx') domain = '';
  const defaults = new Map([...attributes].map(([key, attribute], i) => [key, { attribute, range: ranges[i]! }]));
  return { name, domain, overload, inputs, outputs, defaults, nodes, opsets, range: cursor.whole() };
}

/** A graph while it is read. */
interface OpenGraph {
  name: string;
  readonly nodes: NodeRecord[];
  readonly initializers: TensorRef[];
  readonly sparse: SparseRef[];
  readonly inputs: ValueInfo[];
  readonly outputs: ValueInfo[];
  readonly valueInfo: ValueInfo[];
}

function emptyGraph(): OpenGraph {
  return { name: '', nodes: [], initializers: [], sparse: [], inputs: [], outputs: [], valueInfo: [] };
}

/** Reads a GraphProto of an attribute. */
export function readSubgraph(range: ByteRange, files: ExternalFiles): GraphRecord {
  const graph = emptyGraph();
  readGraph(Cursor.overRange(range, 'GraphProto'), files, graph);
  return graph;
}

function readGraph(cursor: Cursor, files: ExternalFiles, to: OpenGraph): void {
  const { nodes, initializers, sparse, inputs, outputs, valueInfo } = to;
  while (cursor.next()) {
    switch (cursor.field) {
      case 1:
        nodes.push(readNode(cursor.message('NodeProto'), files));
        break;
      case 2:
        to.name = cursor.string();
        break;
      case 5:
        initializers.push(readTensor(cursor.message('TensorProto'), files));
        break;
      case 11:
        inputs.push(readValueInfo(cursor.message('ValueInfoProto')));
        break;
      case 12:
        outputs.push(readValueInfo(cursor.message('ValueInfoProto')));
        break;
      case 13:
        valueInfo.push(readValueInfo(cursor.message('ValueInfoProto')));
        break;
      case 15: {
        const message = cursor.message('SparseTensorProto');
        sparse.push({ range: message.whole(), name: sparseName(message) });
        break;
      }
      default:
        cursor.skip();
    }
  }
}
