/** Machines that the models are asked about: rates of their parts, each with its source. */

/** An accelerator as its maker describes it. All rates are dense, and count a multiplication with its addition once. */
export interface Accelerator {
  readonly name: string;
  /** Where the figures come from, word for word what is derived from what. */
  readonly source: string;
  /**
   * same: one unit does both, one after the other, as a CPU's SIMD unit. coupled: the vector unit hands what it has converted to the
   * matrix unit on chip, in registers or local memory. decoupled: they are cores of their own, and hand matrices to each other through
   * global memory.
   */
  readonly units: 'same' | 'coupled' | 'decoupled';
  /** 10¹² multiply-accumulates per second of the matrix unit. `fp4`: MXFP4 × MXFP4, where there are such. */
  readonly matrixTmacs: { readonly int8: number; readonly bf16: number; readonly fp8?: number; readonly fp4?: number };
  /** 10¹² operations per second of the vector unit on single elements: one conversion, one multiplication. */
  readonly vectorTops: number;
  /** 10¹² bytes per second of global memory. */
  readonly memoryTerabytes: number;
  /** Rows that the matrix unit computes at once: fewer take as long. */
  readonly tileRows: number;
}
