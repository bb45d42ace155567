/** Writes the toy model as a folder of the hub: `node src/build-toy-model.ts`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { toyFiles } from './toy-model.ts';

const folder = new URL('../generated/toy/', import.meta.url);
for (const [name, bytes] of toyFiles()) {
  const file = new URL(name, folder);
  mkdirSync(new URL('.', file), { recursive: true });
  writeFileSync(file, bytes);
  console.log(`generated/toy/${name}  ${(bytes.length / 1e3).toFixed(1)} kB`);
}
