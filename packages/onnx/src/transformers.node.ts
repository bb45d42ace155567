/**
 * `@msd/onnx/transformers` for Node, where Transformers.js runs on onnxruntime-node: takes over the module that it loads.
 */
import { ReadError } from './errors.ts';
import { expectQuestions } from './execute/kv/lazy.ts';
import type { OrtModule } from './ort.ts';
import { takeOver } from './takeover.ts';
import { followLogLevel, givenModule } from './transformers-env.ts';

export * from './register.ts';

interface Require {
  (name: string): unknown;
  resolve(name: string): string;
}

interface NodeProcess {
  cwd(): string;
  getBuiltinModule(name: 'node:module'): { createRequire(from: string): Require };
}

// Not by import: bundlers would look for Node's modules, and take `createRequire` for their own.
const { process } = globalThis as unknown as { process: NodeProcess };
const { createRequire } = process.getBuiltinModule('node:module');

/** `require`, as Transformers.js has it. */
function requireOfTransformers(): Require {
  let cause: unknown;
  // Beside this package; a package that is linked from elsewhere finds it in the app's folder.
  for (const from of [import.meta.url, `${process.cwd()}/`])
    try {
      return createRequire(createRequire(from).resolve('@huggingface/transformers'));
    } catch (error) {
      cause ??= error;
    }
  throw new ReadError(
    '@msd/onnx/transformers: @huggingface/transformers, expected it beside @msd/onnx, got none: npm install @huggingface/transformers.',
    { cause },
  );
}

function moduleOfTransformers(): OrtModule {
  const require = requireOfTransformers();
  try {
    return require('onnxruntime-node') as OrtModule;
  } catch (cause) {
    throw new ReadError(
      '@msd/onnx/transformers: onnxruntime-node, expected it beside @huggingface/transformers, got none that loads: install Transformers.js again, with its optional files.',
      { cause },
    );
  }
}

const ort = givenModule() ?? moduleOfTransformers();
followLogLevel(ort);
expectQuestions(ort);
takeOver(ort);
