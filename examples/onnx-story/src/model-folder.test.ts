/** Folders that readers drop: found out from the names of their files, refused with what is missing. */
import { describe, expect, it } from 'vitest';
import { fileNameOf, openFolder } from './model-folder.ts';

const LLAMA = JSON.stringify({ architectures: ['LlamaForCausalLM'] });
const folder = (files: Record<string, string>) =>
  new Map(Object.entries(files).map(([path, text]) => [path, new File([text], path.split('/').at(-1)!)]));

const TOP = { 'config.json': LLAMA, 'tokenizer.json': '{}', 'tokenizer_config.json': '{}' };

describe('a folder', () => {
  it('is the one that has config.json, wherever it was dropped from', async () => {
    const dropped = folder({
      'downloads/notes.txt': '',
      'downloads/tiny/config.json': LLAMA,
      'downloads/tiny/tokenizer.json': '{}',
      'downloads/tiny/tokenizer_config.json': '{}',
      'downloads/tiny/onnx/model_q4.onnx': '',
      'downloads/tiny/onnx/model_q4.onnx_data': '',
      'downloads/tiny/onnx/model_q4.onnx_data_1': '',
      'downloads/tiny/onnx/model.onnx': '',
    });
    const { name, files, dtypes } = await openFolder(dropped);
    expect(name).toBe('tiny');
    expect(dtypes).toEqual(['q4', 'fp32']);
    expect(files.has('onnx/model_q4.onnx')).toBe(true);
    expect(fileNameOf(files, 'q4')).toEqual({ subfolder: 'onnx', name: 'model', externalFiles: 2 });
    expect(fileNameOf(files, 'fp32')).toEqual({ subfolder: 'onnx', name: 'model', externalFiles: 0 });
    expect(() => fileNameOf(files, 'q8')).toThrow('no q8 file');
  });

  it('may have its ONNX files at the top, or a merged decoder', async () => {
    const dropped = folder({ ...TOP, 'decoder_model_merged_quantized.onnx': '' });
    const { name, files, dtypes } = await openFolder(dropped);
    expect([name, dtypes]).toEqual(['folder', ['q8']]);
    expect(fileNameOf(files, 'q8')).toEqual({ subfolder: '', name: 'decoder_model_merged', externalFiles: 0 });
  });

  it.each([
    ['no config.json', {}, /no config\.json\. Choose a whole folder in the layout of Transformers\.js/],
    ['no JSON', { 'm/config.json': '<html>' }, /m\/config\.json is not JSON/],
    ['another task', { 'm/config.json': '{"architectures":["BertModel"]}' }, /BertModel, which does not write text/],
    ['no tokenizer', { 'm/config.json': LLAMA }, /m has no tokenizer\.json/],
    ['half a tokenizer', { 'config.json': LLAMA, 'tokenizer.json': '{}' }, /folder has no tokenizer_config\.json/],
    ['no ONNX file', TOP, /folder has no ONNX file/],
  ])('is refused for %s, with what to do', async (_, files, message) => {
    await expect(openFolder(folder(files as Record<string, string>))).rejects.toThrow(message);
  });
});
