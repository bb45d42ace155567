/** Imports of core's source go downwards: whoever reads a layer has to know nothing of those above it. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('../src', import.meta.url));

/** From the bottom up: folders and files of src. A file may import from its own layer, if that is one folder, and from those before. */
const LAYERS: readonly (readonly string[])[] = [
  ['errors.ts', 'numbers.ts', 'device-name.ts'],
  ['wasm', 'wgsl'],
  ['peaks'],
  ['kernel-spec.ts'],
  ['formats'],
  ['activations', 'lookup'],
  ['decompose', 'recombine'],
  ['gemm', 'ops'],
  ['nn'],
  ['attention'],
  ['msd-matmul.ts', 'accuracy'],
  ['plan'],
  ['threads'],
  ['backends'],
  ['backends/reference', 'backends/wasm', 'backends/webgpu'],
  ['backends/create.ts', 'attention-work.ts'],
  ['program'],
  ['matmul.ts', 'attention.ts'],
  ['index.ts', 'numerics'],
];

/** The part of src that a file belongs to: the longest one that is named above. */
function partOf(file: string): string {
  const parts = LAYERS.flat().filter((part) => file === part || file.startsWith(`${part}/`));
  const part = parts.sort((a, b) => b.length - a.length)[0];
  if (!part) throw new Error(`${file} belongs to no layer: name its folder in LAYERS, where it may be imported.`);
  return part;
}

const layerOf = (part: string): number => LAYERS.findIndex((parts) => parts.includes(part));

/** Files of src that one imports, types included. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return Array.from(text.matchAll(/(?:from|import\()\s*'(\.[^']+)'/g), ([, path]) =>
    relative(root, join(root, dirname(file), path)),
  );
}

it('core’s files import from their own part and from layers below', () => {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.includes('.test.'),
  );
  expect(files.length).toBeGreaterThan(100);
  const upwards = files.flatMap((file) =>
    importsOf(file)
      .filter((other) => {
        const [own, its] = [partOf(file), partOf(other)];
        return own !== its && layerOf(its) >= layerOf(own);
      })
      .map((other) => `${file} imports ${other}`),
  );
  expect(upwards).toEqual([]);
});
