/**
 * A process of its own that loads a model with a large constant, runs it once, and prints the largest memory it ever had, in MB.
 * Arguments: provider, path, `path` or `bytes`, channels.
 */
import { readFileSync } from 'node:fs';
import { ort, session } from './ort.ts';

const [provider, path, how, channels] = process.argv.slice(2) as ['msd' | 'wasm', string, string, string];
const size = Number(channels);
const external = [{ path: 'large.bin', data: `${path}.bin` }];
const isBeside = path.includes('beside');
const model = how === 'path' ? path : new Uint8Array(readFileSync(path));
const s = await session(model, provider, isBeside ? { externalData: external } : {});
const x = new ort.Tensor('float32', new Float32Array(2 * size).fill(0.5), [2, size]);
const ids = new ort.Tensor('int64', BigInt64Array.of(3n, 70n), [2]);
const all = { x, ids } as Record<string, ort.Tensor>;
const feeds = Object.fromEntries(s.inputNames.map((name) => [name, all[name]!]));
await s.run(feeds);
const most = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(JSON.stringify({ most }));
