/** What the comparison asks of an engine, its own or a peer: load a chain of layers, run it, show what came out. */
import type { MatrixRows } from '../models/reference.ts';
import { type LayerWeights, layerFloats, layerWeights, rowReader, type WeightsId } from '../models/weights.ts';
import type { LayerShape } from '../shapes.ts';

export type EngineId = 'msd' | 'ort' | 'litert' | 'tfjs' | 'llama';

/** One column of the comparison. */
export interface Variant {
  /** Unique among all engines: `ort int8`, `msd int8 P=2 i16`. */
  readonly id: string;
  readonly engine: EngineId;
  /** As a reader knows it. */
  readonly label: string;
  /** Weights that it multiplies with; variants with equal ones get equal matrices. */
  readonly weights: string;
  /** SQNR that one layer with Gaussian rows must reach before it is timed, dB. Set well below what it has. */
  readonly minSqnrDb: number;
  readonly threads: number;
  /** Only msd: components of an activation, and the carrier asked for (none: whatever the default options choose). */
  readonly components?: 1 | 2;
  readonly carrier?: string;
}

/** A chain of layers that is ready to run: y = (…((x·W₁ᵀ)·W₂ᵀ)…). */
export interface Loaded {
  /** Runs the chain on an input that lies where the engine wants it; the result stays there. */
  run(): unknown;
  /** Puts x f32 [M, K of the first layer] in, runs, and fetches the result [M, N of the last layer]. */
  compute(x: Float32Array): Promise<Float32Array>;
  /** The weights as the engine has them, for the float64 reference. */
  readonly layers: readonly MatrixRows[];
  /** Id of the kernel that does it, where the engine tells. */
  readonly kernel?: string;
  /** Bytes that the weights occupy in the engine, where it tells. */
  readonly weightBytes?: number;
  release(): void | Promise<void>;
}

export interface Engine {
  readonly id: EngineId;
  readonly version: string;
  readonly variants: readonly Variant[];
  load(variant: Variant, layers: LayerSource, M: number): Promise<Loaded>;
  /** Drops what it holds. */
  dispose?(): void;
}

/** The shapes of a chain with their weights, made on demand: floats once, each format while it is being loaded. */
export class LayerSource {
  readonly shapes: readonly LayerShape[];
  readonly #floats = new Map<number, Float32Array>();

  constructor(shapes: readonly LayerShape[]) {
    this.shapes = shapes;
  }

  floats(i: number): Float32Array {
    let floats = this.#floats.get(i);
    if (!floats) this.#floats.set(i, (floats = layerFloats(this.shapes[i]!, 100 + i)));
    return floats;
  }

  weights(id: WeightsId): LayerWeights[] {
    return this.shapes.map((shape, i) => layerWeights(shape, id, this.floats(i)));
  }
}

export const matrixRows = (layers: readonly LayerWeights[]): MatrixRows[] =>
  layers.map((layer) => ({ K: layer.K, N: layer.N, row: rowReader(layer) }));
