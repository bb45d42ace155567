/** Counts the bytes of every WebAssembly memory of a page, whoever makes it. Import it before the engines. */

const memories: WeakRef<WebAssembly.Memory>[] = [];
const note = (memory: WebAssembly.Memory): void => void memories.push(new WeakRef(memory));

function noteExports({ exports }: WebAssembly.Instance): void {
  for (const value of Object.values(exports)) if (value instanceof OriginalMemory) note(value);
}

const OriginalMemory = WebAssembly.Memory;
WebAssembly.Memory = class extends OriginalMemory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    note(this);
  }
};

const { instantiate, instantiateStreaming } = WebAssembly;
WebAssembly.instantiate = (async (source: BufferSource | WebAssembly.Module, imports?: WebAssembly.Imports) => {
  const result = await instantiate(source as BufferSource, imports);
  noteExports(result instanceof WebAssembly.Instance ? result : result.instance);
  return result;
}) as typeof WebAssembly.instantiate;
WebAssembly.instantiateStreaming = async (source, imports) => {
  const result = await instantiateStreaming(source, imports);
  noteExports(result.instance);
  return result;
};

/** Bytes of the memories that are alive, those in workers not. */
export function wasmBytes(): number {
  const alive = new Set(memories.flatMap((memory) => memory.deref() ?? []));
  return [...alive].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}
