/**
 * Counts WebAssembly memory from the moment this module is imported. Both ONNX Runtime Web and MSD create their memories
 * in JavaScript, with their first session, and a memory never shrinks: the sum of the sizes is the most that was ever used.
 */
const memories: WebAssembly.Memory[] = [];

WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(this);
  }
};

/** Bytes of all memories that were made so far. */
export function wasmMemoryBytes(): number {
  return memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
}
