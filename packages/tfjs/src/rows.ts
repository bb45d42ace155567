/** The real values of packed tensors, in JavaScript. For tables of a manifest bit for bit what tfjs's own decoder makes of them. */
import { readRows } from './kernels/in-memory.ts';
import { sizeOf } from './shapes.ts';
import { type QuantizedSpec, realShape, sourceCount } from './spec.ts';
import { factorsOf } from './weights/powers.ts';

/** Bytes of each matrix or table of a packed tensor. */
export function sourcesOf(spec: QuantizedSpec, bytes: Uint8Array): Uint8Array[] {
  const count = sourceCount(spec);
  const size = bytes.length / count;
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size));
}

/** The whole real tensor: [batch…,K,N] or [rows,columns]. */
export function realValues(spec: QuantizedSpec, bytes: Uint8Array): Float32Array {
  const out = new Float32Array(sizeOf(realShape(spec)));
  const sources = sourcesOf(spec, bytes);
  const size = out.length / sources.length;
  sources.forEach((source, i) => {
    readRows(spec, source, { out: out.subarray(i * size, (i + 1) * size) });
  });
  const factors = factorsOf(spec);
  if (factors) for (let i = 0; i < out.length; i++) out[i]! *= factors[Math.floor(i / (out.length / factors.length))]!;
  return out;
}
