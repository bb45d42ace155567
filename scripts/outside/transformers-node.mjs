// Transformers.js and @msd/onnx in Node: each way to write the one line, and an app that pnpm installed.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WRITE } from './transformers-page.mjs';

const BODY = `
import('node:fs').then(async ({ readFileSync }) => {
  env.allowRemoteModels = false;
  env.localModelPath = process.env.MSD_MODELS;
  const names = JSON.parse(readFileSync(process.env.MSD_MODELS + '/names.json', 'utf8'));
${WRITE}
  console.log(JSON.stringify({ text, others, claimed, left }));
});
`;
const TRANSFORMERS = "import { env, pipeline } from '@huggingface/transformers';\n";
const MSD = "import { reportOf } from '@msd/onnx/transformers';\n";

const NO_LINE = `${TRANSFORMERS}const reportOf = undefined;\n${BODY}`;

/** File name, its text (unless there is one already), and options of Node. */
export const WAYS = [
  ['before.mjs', MSD + TRANSFORMERS + BODY, []],
  ['after.mjs', TRANSFORMERS + MSD + BODY, []],
  [
    'app.cjs',
    `const { reportOf } = require('@msd/onnx/transformers');\nconst { env, pipeline } = require('@huggingface/transformers');\n${BODY}`,
    [],
  ],
  ['imported.mjs', NO_LINE, ['--import', '@msd/onnx/transformers']],
];

/** What `buildForServer` of transformers-pages.mjs built of the first one. */
export const ON_SERVER = ['server/before.js', undefined, []];

/** Where the package manager has done it. */
export const WITHOUT_A_LINE = ['overridden.mjs', NO_LINE, []];

/**
 * Runs all of them.
 *
 * @param {string} app folder with the packages
 * @param {string} models folder of models
 * @param {readonly string[]} nodes commands of Node
 * @param {readonly (readonly [string, string | undefined, readonly string[]])[]} ways
 * @yields {{ name: string, result: object }}
 */
export function* nodeRuns(app, models, nodes, ways) {
  for (const [file, text] of ways) if (text) writeFileSync(join(app, file), text);
  for (const node of nodes)
    for (const [file, , options] of ways) {
      const { stdout, stderr } = spawnSync(node, [...options, file], {
        cwd: app,
        encoding: 'utf8',
        env: { ...process.env, MSD_MODELS: models },
      });
      const line = stdout.trim().split('\n').at(-1);
      // Nothing may be said there: every user would see it.
      const result = stderr || !line ? { error: stderr || 'no output' } : JSON.parse(line);
      yield { name: `${node} ${[...options, file].join(' ')}`, result };
    }
}

/** What somebody reads who has no Transformers.js. @param {string} app folder with @msd/onnx alone */
export function missingTransformers(app) {
  writeFileSync(join(app, 'alone.mjs'), "import '@msd/onnx/transformers';\n");
  return spawnSync('node', ['alone.mjs'], { cwd: app, encoding: 'utf8' }).stderr;
}
