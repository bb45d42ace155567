import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Undo } from '../src/shared/interrupt.ts';
import { parseFileName } from '../src/shared/layout.ts';
import { chooseFile, chooseFiles, externalDataOf, locate } from '../src/shared/locate.ts';
import { bytesText, countText, durationText } from '../src/shared/numbers.ts';
import { OutputFiles } from '../src/shared/output-files.ts';
import { Progress } from '../src/shared/progress.ts';

const never = new AbortController().signal;
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'msd-cli-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('numbers', () => {
  it('are written as people read them', () => {
    expect([0, 999, 1500, 12_345_678, 3.2e9].map(bytesText)).toEqual([
      '0 bytes',
      '999 bytes',
      '1.50 kB',
      '12.3 MB',
      '3.20 GB',
    ]);
    expect([7, 494e6].map(countText)).toEqual(['7', '494 M']);
    expect([3.5, 12_000, 125_000, 3_780_000].map(durationText)).toEqual(['3.50 ms', '12 s', '2 min 5 s', '1 h 3 min']);
  });
});

describe('Progress', () => {
  const lines: string[] = [];
  const out = (isTTY: boolean) => ({ isTTY, columns: 80, write: (text: string) => lines.push(text) > 0 });
  beforeEach(() => {
    lines.length = 0;
  });

  it('says rate and time left', () => {
    let now = 0;
    const progress = new Progress(out(false), () => now);
    progress.update('Downloading', { done: 0, total: 4e6, unit: 'bytes' });
    now = 5000;
    progress.update('Downloading', { done: 1e6, total: 4e6, unit: 'bytes' });
    expect(lines).toEqual([
      'Downloading: 0 bytes of 4.00 MB\n',
      'Downloading: 1.00 MB of 4.00 MB, 200 kB/s, 15 s left\n',
    ]);
  });

  it('redraws one line on a terminal, and takes it away', () => {
    const progress = new Progress(out(true), () => 0);
    progress.update('Quantizing', { done: 1, total: 3, unit: 'layers', detail: 'lm_head' });
    progress.clear();
    expect(lines.join('')).toContain('Quantizing: 1 of 3 layers, lm_head');
    expect(lines.at(-1)).toBe('\r\x1b[2K');
  });
});

describe('OutputFiles', () => {
  it('have their names only when they are complete', () => {
    const files = new OutputFiles(new Undo(), false);
    const path = join(folder, 'new', 'model.onnx');
    writeFileSync(files.begin(path), 'model');
    expect(existsSync(path)).toBe(false);
    files.commit();
    expect(readFileSync(path, 'utf8')).toBe('model');
    expect(readdirSync(join(folder, 'new'))).toEqual(['model.onnx']);
  });

  it('leave nothing behind after Ctrl-C, folders included', () => {
    const undo = new Undo();
    const files = new OutputFiles(undo, false);
    writeFileSync(files.begin(join(folder, 'a', 'b', 'model.onnx')), 'half');
    undo.stop();
    expect(readdirSync(folder)).toEqual([]);
    expect(undo.signal.aborted).toBe(true);
    expect(() => undo.check()).toThrow('Stopped. Nothing was left behind.');
  });

  it('replace nothing unless they are told to', () => {
    const path = join(folder, 'model.onnx');
    writeFileSync(path, 'old');
    expect(() => new OutputFiles(new Undo(), false).begin(path)).toThrow('--force');
    const files = new OutputFiles(new Undo(), true);
    writeFileSync(files.begin(path), 'new');
    files.commit();
    expect(readFileSync(path, 'utf8')).toBe('new');
  });
});

describe('locate', () => {
  const put = (...names: string[]): void => {
    mkdirSync(join(folder, 'onnx'), { recursive: true });
    for (const name of names) writeFileSync(join(folder, name), name.endsWith('.json') ? '{}' : '');
  };

  it('knows the endings of dtypes', () => {
    expect(parseFileName('onnx/decoder_model_merged_q4f16.onnx')).toEqual({
      module: 'decoder_model_merged',
      dtype: 'q4f16',
    });
    expect(parseFileName('model_quantized.onnx')).toEqual({ module: 'model', dtype: 'q8' });
    expect(parseFileName('model.onnx')).toEqual({ module: 'model', dtype: 'fp32' });
    expect(parseFileName('model.onnx_data')).toBeUndefined();
  });

  it('finds the files of a folder, and takes the dtype that is asked for', async () => {
    put('config.json', 'onnx/model.onnx', 'onnx/model.onnx_data', 'onnx/model_q4.onnx', 'onnx/model_q4.onnx_data');
    const located = await locate(folder, never);
    expect(located.kind).toBe('folder');
    expect(await located.readText('config.json')).toBe('{}');
    expect(await located.readText('tokenizer.json')).toBeUndefined();
    expect(chooseFile(located, {}).name).toBe('onnx/model_q4.onnx');
    const file = chooseFile(located, { dtype: 'fp32' });
    expect(file.name).toBe('onnx/model.onnx');
    expect(externalDataOf(located, file)).toEqual([
      { path: 'model.onnx_data', data: join(folder, 'onnx', 'model.onnx_data') },
    ]);
    expect(() => chooseFile(located, { dtype: 'q8' })).toThrow(
      'has no q8 file. There are onnx/model.onnx, onnx/model_q4.onnx.',
    );
    expect(() => chooseFile(located, { dtype: 'int3' })).toThrow('--dtype: expected one of fp32');
  });

  it('takes one file for each module', async () => {
    put('onnx/encoder_model.onnx', 'onnx/decoder_model_merged_q4.onnx', 'onnx/decoder_model_merged_quantized.onnx');
    const located = await locate(folder, never);
    expect(chooseFiles(located, {}).map(({ name }) => name)).toEqual([
      'onnx/decoder_model_merged_q4.onnx',
      'onnx/encoder_model.onnx',
    ]);
    expect(() => chooseFile(located, {})).toThrow('Choose one with --module: decoder_model_merged, encoder_model.');
    expect(chooseFile(located, { module: 'encoder_model' }).dtype).toBe('fp32');
    expect(() => chooseFile(located, { module: 'model' })).toThrow('--module: expected one of decoder_model_merged');
  });

  it('says what it looked for', async () => {
    await expect(locate(join(folder, 'nothing.onnx'), never)).rejects.toThrow('does not exist. Pass an .onnx file');
    await expect(locate('https://', never)).rejects.toThrow('https:// is not a whole address. Pass one like');
    await expect(locate(folder, never)).rejects.toThrow('has no .onnx file, nor has its folder onnx');
  });
});
