/** The story model as a job. */
import { fileURLToPath } from 'node:url';
import { encodePrompt, openModelFolder } from '../../examples/story-model/src/model-folder.ts';
import { PROMPTS } from '../../examples/story-model/src/prompts.ts';
import type { StoryOptions } from './story.ts';

const TOKENS = 40;

export function storyJob(runs: StoryOptions['runs']): { readonly name: 'story' } & StoryOptions {
  const folder = openModelFolder(fileURLToPath(new URL('../../examples/story-model/generated/', import.meta.url)));
  return {
    name: 'story',
    model: folder.model,
    config: folder.config,
    prompts: PROMPTS.map((prompt) => encodePrompt(folder, prompt, TOKENS)),
    tokens: TOKENS,
    runs,
  };
}
