/** Every TypeScript example in a README runs as it stands, in a process of its own, beside the shipped model. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const models = join(root, 'examples/story-model/generated/onnx');
const generated = join(root, 'test/generated'); // inside the workspace, so that imports resolve as they do for users
const run = promisify(execFile);

/** Tests have no hub: where an example names a model of it, the shipped one answers. */
const withoutHub = (code: string): string =>
  code
    .replace(
      "import { pipeline } from '@huggingface/transformers';",
      `import { env, pipeline } from '@huggingface/transformers';
Object.assign(env, { allowRemoteModels: false, localModelPath: ${JSON.stringify(join(root, 'examples/story-model/'))} });`,
    )
    .replace(/'onnx-community\/[\w.-]+'/, "'generated'");

const readmes = ['README.md', ...readdirSync(join(root, 'packages')).map((name) => `packages/${name}/README.md`)];

describe('examples in the READMEs', () => {
  mkdirSync(generated, { recursive: true });
  for (const readme of readmes.filter((file) => existsSync(join(root, file)))) {
    const text = readFileSync(join(root, readme), 'utf8');
    const examples = [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code);
    it.each(examples.map((code, i) => [i + 1, code] as const))(`${readme}, example %i`, async (i, code) => {
      const file = join(generated, `${readme.replaceAll(/\W/g, '-')}-${i}.ts`);
      writeFileSync(file, withoutHub(code));
      const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', file], { cwd: models });
      for (const [, expected] of code.matchAll(/\/\/ prints (.*)$/gm)) expect(stdout).toContain(expected);
    });
  }
});
