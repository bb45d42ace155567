/** The closed-form models of @msd/core/theory over ranges of shapes: what pictures and claims show of them. */
import {
  type AttentionKernel,
  accelerators,
  attentionKernels,
  attentionTraffic,
  dequantizeFirst,
  type Part,
  severalPasses,
} from '@msd/core/theory';

/** Bytes of one call of attention on int8 keys and values, head size 128, 32 heads on 8. */
export interface TrafficPoint {
  readonly kernel: AttentionKernel;
  /** Queries. */
  readonly rows: number;
  readonly keys: number;
  readonly bytes: number;
  /** How many times as much a kernel moves that writes dequantized keys and values to memory. */
  readonly gain: number;
}

/** One product of 4096 x 4096 int8 weights on a machine of a data sheet. */
export interface LatencyPoint {
  readonly machine: string;
  readonly units: string;
  readonly M: number;
  readonly dequantizeSeconds: number;
  readonly dequantizeLimit: Part;
  readonly passesSeconds: number;
  readonly passesLimit: Part;
  /** How many times as long dequantizing takes. */
  readonly gain: number;
}

/** All of the models. */
export interface Models {
  readonly traffic: readonly TrafficPoint[];
  readonly latency: readonly LatencyPoint[];
}

const KEYS = 8192;
/** Queries that a flash attention kernel holds on chip: more read the keys again. */
const ROWS_PER_TILE = 128;
const STORED = { bytes: 1, scaleBytes: 2 }; // a BF16 scale per row of a head
const SIDE = 4096;
const powers = (most: number): number[] => Array.from({ length: Math.log2(most) + 1 }, (_, i) => 2 ** i);

/** Everything, at once: it takes no time. */
export function models(): Models {
  const traffic = powers(4096).flatMap((rows) => {
    const shape = { rows, keys: KEYS, heads: 32, kvHeads: 8, headSize: 128, rowsPerTile: ROWS_PER_TILE };
    const bytesOf = (kernel: AttentionKernel): number => attentionTraffic(kernel, shape, STORED).keysAndValues;
    return attentionKernels.map((kernel) => ({
      ...{ kernel, rows, keys: KEYS },
      ...{ bytes: bytesOf(kernel), gain: bytesOf('write-back') / bytesOf(kernel) },
    }));
  });
  const latency = accelerators.flatMap((machine) =>
    powers(1024).map((M) => {
      const shape = { M, N: SIDE, K: SIDE };
      const weights = { bytes: STORED.bytes, unit: 'int8' } as const;
      const [dequantize, passes] = [
        dequantizeFirst(machine, shape, weights),
        severalPasses(machine, shape, weights, 2),
      ];
      return {
        ...{ machine: machine.name, units: machine.units, M },
        ...{ dequantizeSeconds: dequantize.seconds, dequantizeLimit: dequantize.limit },
        ...{ passesSeconds: passes.seconds, passesLimit: passes.limit },
        gain: dequantize.seconds / passes.seconds,
      };
    }),
  );
  return { traffic, latency };
}
