import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UserError } from '../../../packages/cli/src/shared/errors.ts';
import { FILES } from './files.ts';
import { CONFIG } from './model.ts';
import { writeModelFolder } from './model-files.ts';
import { encodePrompt, openModelFolder } from './model-folder.ts';
import { PROMPTS } from './prompts.ts';
import { END_ID, START_ID } from './words.ts';

const root = mkdtempSync(join(tmpdir(), 'story-model-'));
const shipped = join(root, 'shipped');
let folder: string;

beforeAll(() => {
  writeModelFolder(pathToFileURL(`${shipped}/`));
});
beforeEach(() => {
  folder = mkdtempSync(join(root, 'folder-'));
});
afterAll(() => rmSync(root, { recursive: true }));

const put = (name: string, content: unknown): void => {
  mkdirSync(join(folder, 'onnx'), { recursive: true });
  writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
};
const SIZES = {
  num_hidden_layers: 1,
  num_attention_heads: 4,
  hidden_size: 64,
  vocab_size: 100,
  max_position_embeddings: 8,
  eos_token_id: 2,
};

describe('openModelFolder', () => {
  it('opens what the build writes', () => {
    const opened = openModelFolder(shipped);
    expect(opened.model).toBe(join(shipped, 'onnx', 'model_q4.onnx'));
    expect(opened.externalData).toEqual([]);
    const { layers, kvHeads, headDim, vocabSize, context } = CONFIG;
    expect(opened.config).toEqual({ layers, kvHeads, headDim, vocabSize, context, endIds: [END_ID] });
    expect(openModelFolder(shipped, 'fp32').model).toBe(join(shipped, 'onnx', 'model.onnx'));
  });

  it('takes the only ONNX file there is, external data beside it, and defaults of config.json', () => {
    put('decoder.onnx', '');
    put('decoder.onnx_data', '');
    put('config.json', SIZES);
    put('generation_config.json', { eos_token_id: [2, 7] });
    copyFileSync(FILES.tokenizer, join(folder, 'tokenizer.json'));
    const opened = openModelFolder(folder);
    expect(opened.model).toBe(join(folder, 'decoder.onnx'));
    expect(opened.externalData).toEqual([{ path: 'decoder.onnx_data', data: join(folder, 'decoder.onnx_data') }]);
    expect(opened.config).toMatchObject({ kvHeads: 4, headDim: 16, endIds: [2, 7] });
  });

  it.each<[string, RegExp, () => unknown]>([
    ['a missing folder', /does not exist/, () => openModelFolder(join(folder, 'nothing'))],
    [
      'a file',
      /expected a folder/,
      () => {
        put('file', '');
        openModelFolder(join(folder, 'file'));
      },
    ],
    ['a folder without models', /expected \.onnx files in .* found none/, () => openModelFolder(folder)],
    ['an unknown dtype', /--dtype: expected one of fp32, .* got fp4/, () => openModelFolder(shipped, 'fp4')],
    [
      'a dtype that is not there',
      /expected model_quantized\.onnx .* found model\.onnx, model_q4\.onnx/,
      () => openModelFolder(shipped, 'q8'),
    ],
    [
      'no config',
      /has no config\.json/,
      () => {
        put('model_q4.onnx', '');
        openModelFolder(folder);
      },
    ],
    [
      'a broken config',
      /config\.json is not JSON/,
      () => {
        put('model_q4.onnx', '');
        put('config.json', '{');
        openModelFolder(folder);
      },
    ],
    [
      'a config without sizes',
      /num_attention_heads expected a positive integer, got undefined/,
      () => {
        put('model_q4.onnx', '');
        put('config.json', {});
        openModelFolder(folder);
      },
    ],
    [
      'a tokenizer of an unknown kind',
      /tokenizer\.json/,
      () => {
        put('model_q4.onnx', '');
        put('config.json', SIZES);
        put('tokenizer.json', { model: { type: 'Nothing' } });
        openModelFolder(folder);
      },
    ],
  ])('explains %s', (_, message, open) => {
    expect(open).toThrow(UserError);
    expect(open).toThrow(message);
  });
});

describe('encodePrompt', () => {
  it('knows every word of the shipped prompts', () => {
    const opened = openModelFolder(shipped);
    for (const prompt of PROMPTS) {
      const ids = encodePrompt(opened, prompt, 200);
      expect(ids[0]).toBe(START_ID);
      expect(opened.tokenizer.decode(ids, { skip_special_tokens: true })).toBe(prompt);
    }
  });

  it('refuses what does not fit into the context', () => {
    const opened = openModelFolder(shipped);
    expect(() => encodePrompt(opened, 'Once upon a time', 252)).toThrow(/5 tokens and 252 new ones .* at most 251/);
    expect(encodePrompt(opened, 'Once upon a time', 251)).toHaveLength(5);
  });

  it('refuses a prompt without tokens', () => {
    const opened = openModelFolder(shipped);
    const noStart = { encode: () => ({ ids: [] }) } as unknown as typeof opened.tokenizer;
    expect(() => encodePrompt({ ...opened, tokenizer: noStart }, '', 10)).toThrow(/has no tokens/);
  });
});
