/**
 * What compute passes take by the GPU's own clock, whoever records them: each pass that begins on the device while the clock runs
 * gets two timestamps. Time between passes does not count, nor do copies outside of them.
 */

/** WebGPU allows 4096 queries in a set. */
const MAX_PASSES = 2048;
const QUERY_RESOLVE = 0x200;
const [COPY_SRC, COPY_DST, MAP_READ] = [0x4, 0x8, 0x1];

export class PassClock {
  readonly #device: GPUDevice;
  readonly #querySet: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #mapped: GPUBuffer;
  #running = false;
  #passes = 0;

  /** @param device with the feature timestamp-query; its passes are watched from now on */
  constructor(device: GPUDevice) {
    const size = 16 * MAX_PASSES;
    this.#device = device;
    this.#querySet = device.createQuerySet({ type: 'timestamp', count: 2 * MAX_PASSES });
    this.#resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    this.#mapped = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    const createCommandEncoder = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = createCommandEncoder(descriptor);
      const beginComputePass = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (pass) => beginComputePass(this.#running ? this.#timed(pass) : pass);
      return encoder;
    };
  }

  start(): void {
    this.#passes = 0;
    this.#running = true;
  }

  /**
   * Once everything that began since the start has been submitted and is done.
   * @returns milliseconds of all passes; `undefined` if there were none, or more than are counted
   */
  async stop(): Promise<number | undefined> {
    this.#running = false;
    const passes = this.#passes;
    if (passes === 0 || passes > MAX_PASSES) return undefined;
    const encoder = this.#device.createCommandEncoder();
    encoder.resolveQuerySet(this.#querySet, 0, 2 * passes, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#mapped, 0, 16 * passes);
    this.#device.queue.submit([encoder.finish()]);
    await this.#mapped.mapAsync(MAP_READ, 0, 16 * passes);
    const times = new BigUint64Array(this.#mapped.getMappedRange(0, 16 * passes));
    let nanoseconds = 0n;
    for (let i = 0; i < times.length; i += 2) nanoseconds += times[i + 1]! - times[i]!;
    this.#mapped.unmap();
    return Number(nanoseconds) / 1e6;
  }

  dispose(): void {
    for (const owned of [this.#querySet, this.#resolved, this.#mapped]) owned.destroy();
  }

  #timed(pass: GPUComputePassDescriptor | undefined): GPUComputePassDescriptor {
    const first = 2 * this.#passes++;
    if (first >= 2 * MAX_PASSES) return pass ?? {};
    const timestampWrites = {
      querySet: this.#querySet,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
    return { ...pass, timestampWrites };
  }
}
