import { expect, it } from 'vitest';
import { opOf, run } from '../../test/attention-cases.ts';
import { gaussians, random } from '../../test/random.ts';
import { createBackend, createKvCache } from '../index.ts';
import type { KvType } from './contract.ts';

const shape = { batch: 2, heads: 6, kvHeads: 2, headSize: 20, valueSize: 12 };
const rowsOf = (x: Float32Array, width: number, T: number, from: number, to: number) =>
  Float32Array.from({ length: 2 * (to - from) * width }, (_, i) => {
    const b = Math.floor(i / ((to - from) * width));
    return x[b * T * width + from * width + (i % ((to - from) * width))];
  });

for (const type of ['int16', 'int8', 'float'] as KvType[])
  it(`gives the same bits, whatever a prompt is cut into: ${type}`, async () => {
    const device = await createBackend('reference', { arithmetic: 'float32' });
    const wasm = await createBackend('wasm');
    const T = 150;
    const next = random(1);
    const [q, k, v] = [6 * 20, 2 * 20, 2 * 12].map((width) => gaussians(next, 2 * T * width));
    const whole: Float32Array[] = [];
    for (const on of [device, wasm])
      for (const chunk of [T, 64, 7, 1]) {
        const cache = createKvCache(on as typeof device, { ...shape, type });
        const out = new Float32Array(2 * T * 72);
        for (let at = 0; at < T; at += chunk) {
          const end = Math.min(T, at + chunk);
          const op = opOf({ ...shape, rows: end - at });
          const part = await run(
            on as typeof device,
            op,
            { q: rowsOf(q, 120, T, at, end), k: rowsOf(k, 40, T, at, end), v: rowsOf(v, 24, T, at, end) },
            { cache },
          );
          for (let b = 0; b < 2; b++)
            out.set(part.subarray(b * (end - at) * 72, (b + 1) * (end - at) * 72), (b * T + at) * 72);
        }
        whole.push(out);
      }
    for (const other of whole) expect(other).toEqual(whole[0]);
    expect(whole[0].every(Number.isFinite)).toBe(true);
    // against plain attention
    let worst = 0;
    let norm = 0;
    for (let b = 0; b < 2; b++)
      for (let m = 0; m < T; m += 13)
        for (let h = 0; h < 6; h++) {
          const g = Math.floor(h / 3);
          const z = Array.from({ length: m + 1 }, (_, t) => {
            let s = 0;
            for (let j = 0; j < 20; j++) s += q[((b * T + m) * 6 + h) * 20 + j] * k[((b * T + t) * 2 + g) * 20 + j];
            return s / Math.sqrt(20);
          });
          const max = Math.max(...z);
          const e = z.map((x) => Math.exp(x - max));
          const l = e.reduce((a, c) => a + c, 0);
          for (let c = 0; c < 12; c++) {
            const y = e.reduce((sum, w, t) => sum + (w / l) * v[((b * T + t) * 2 + g) * 12 + c], 0);
            worst += (whole[0][((b * T + m) * 6 + h) * 12 + c] - y) ** 2;
            norm += y * y;
          }
        }
    console.log(type, Math.sqrt(worst / norm));
  });
