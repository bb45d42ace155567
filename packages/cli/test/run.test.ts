/** `msd run` as a user runs it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddingFolder, labelFolder, storyFolder, temporaryFolder, wordFolder } from './folders.ts';
import { msd, msdJson } from './msd.ts';

interface Written {
  readonly text: string;
  readonly ids: readonly number[];
  readonly tokensPerSecond: number;
  readonly ended: string;
}
interface Result<Answer> {
  readonly engine: string;
  readonly summary: string;
  readonly answers: readonly Answer[];
  readonly plain?: { readonly answers: readonly Answer[] };
  readonly same?: { readonly identicalTokens?: readonly number[]; readonly cosines?: readonly number[] };
}

const folder = temporaryFolder();
let story: string;
beforeAll(() => {
  story = storyFolder(join(folder.path, 'story'));
});
afterAll(() => folder.remove());

const one = ['--threads', '1'];

describe('msd run, a decoder', () => {
  it('writes the same text as onnxruntime-web', async () => {
    const args = ['run', story, '--prompt', 'Once upon a time', '--tokens', '40', '--plain', ...one];
    const { answers, plain, same, summary } = await msdJson<Result<Written>>(args);
    expect(answers[0]!.ids).toHaveLength(40);
    expect(answers[0]!.text).toBe(plain!.answers[0]!.text);
    expect(same!.identicalTokens).toEqual([40]);
    expect(summary).toContain('onnxruntime-web is not started');
    expect(answers[0]!.tokensPerSecond).toBeGreaterThan(0);
  });

  it('streams it, and says how fast it was', async () => {
    const { exitCode, stdout } = await msd(['run', story, '--prompt', 'Once upon a time', ...one]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^Once upon a time, there was .*\nMSD: loaded in /s);
  });

  it('draws the same text from the same seed', async () => {
    const drawn = async (seed: string): Promise<string> => {
      const args = [
        'run',
        story,
        '--prompt',
        'Once upon a time',
        '--temperature',
        '1',
        '--seed',
        seed,
        '--tokens',
        '30',
      ];
      return (await msdJson<Result<Written>>([...args, ...one])).answers[0]!.text;
    };
    const [first, again, other] = [await drawn('5'), await drawn('5'), await drawn('6')];
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  it('asks chat models as they want to be asked, unless --raw', async () => {
    const chat = storyFolder(join(folder.path, 'chat'));
    const template = "{% for m in messages %}{{ m['content'] }} {% endfor %}Once upon";
    writeFileSync(join(chat, 'chat_template.jinja'), template);
    const args = ['run', chat, '--prompt', 'a fox', '--system', 'Max', '--tokens', '5', ...one];
    const asked = await msdJson<Result<Written>>(args);
    const same = await msdJson<Result<Written>>([
      'run',
      story,
      '--prompt',
      'Max a fox Once upon',
      '--tokens',
      '5',
      ...one,
    ]);
    expect(asked.answers[0]!.ids.length).toBe(5);
    const raw = await msdJson<Result<Written>>([...args, '--raw']);
    expect(raw.answers[0]!.ids).not.toEqual(asked.answers[0]!.ids);
    // The tokenizer puts <s> before a text, a template says itself what stands there.
    expect(same.answers[0]!.ids.length).toBe(5);
  });

  it('stops at once on Ctrl-C', async () => {
    const { exitCode, stderr } = await msd(['run', story, '--prompt', 'Once', '--plain'], {
      interruptWhen: (said) => said.includes('Loading'),
    });
    expect(exitCode).toBe(130);
    expect(stderr).toContain('Stopped.');
  });

  it.each<[string, string[], number, string]>([
    ['no prompt', [], 2, '--prompt: expected some words, got none. Write what the model is to answer: --prompt TEXT.'],
    ['an unknown option', ['--frob'], 2, "Unknown option '--frob'. See: msd run --help"],
    ['an empty prompt', ['--prompt', ' '], 2, '--prompt: expected some words, got none.'],
    [
      'too many tokens',
      ['--prompt', 'Once', '--tokens', '400'],
      1,
      "exceed the model's context of 256. Ask for at most 254",
    ],
    [
      'a temperature that is none',
      ['--prompt', 'Once', '--temperature', 'warm'],
      2,
      'Expected a number of at least 0.',
    ],
  ])('says in one sentence what is wrong: %s', async (_, args, code, message) => {
    const { exitCode, stderr } = await msd(['run', story, ...args]);
    expect(exitCode).toBe(code);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('Loading');
    expect(stderr).not.toContain('    at ');
  });
});

describe('msd run, an encoder-decoder', () => {
  it('refuses more tokens than its context before anything is loaded', async () => {
    const both = storyFolder(join(folder.path, 'both'));
    // Not even models: they would not load.
    for (const name of ['encoder_model_q4.onnx', 'decoder_model_merged_q4.onnx'])
      writeFileSync(join(both, 'onnx', name), 'nothing');
    const { exitCode, stderr } = await msd(['run', both, '--prompt', 'Once', '--tokens', '256']);
    expect(exitCode).toBe(1);
    expect(stderr.trim()).toBe("--tokens: 256 new tokens exceed the model's context of 256. Ask for at most 255.");
  });
});

describe('msd run, an encoder', () => {
  it('embeds texts, and says how alike they are', async () => {
    const path = embeddingFolder(join(folder.path, 'embedding'));
    const args = ['run', path, '--prompt', 'a red fox', '--prompt', 'a red fox', '--prompt', 'the river', ...one];
    const { answers, same } = await msdJson<Result<{ kind: string; vector: number[] }>>([...args, '--plain']);
    expect(answers.map(({ kind }) => kind)).toEqual(['embedding', 'embedding', 'embedding']);
    expect(answers[0]!.vector).toEqual(answers[1]!.vector);
    expect(Math.hypot(...answers[2]!.vector)).toBeCloseTo(1, 5);
    for (const cosine of same!.cosines!) expect(cosine).toBeCloseTo(1, 5);
    expect((await msd(args)).stdout).toMatch(/1 {2}1\.000 {2}1\.000/);
  });

  it('names labels', async () => {
    const path = labelFolder(join(folder.path, 'labels'));
    const { answers } = await msdJson<Result<{ best: { name: string; share: number }[] }>>([
      'run',
      path,
      ...['--prompt', 'a red fox'],
      ...one,
    ]);
    expect(answers[0]!.best.map(({ name }) => name).sort()).toEqual(['happy', 'sad']);
    expect(answers[0]!.best.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 5);
  });

  it('fills in words, if it has a token for that', async () => {
    const path = wordFolder(join(folder.path, 'words'), 'fox');
    const filled = await msdJson<Result<{ best: { name: string }[] }>>(['run', path, '--prompt', 'a red fox', ...one]);
    expect(filled.answers[0]!.best).toHaveLength(5);
    const without = await msd(['run', path, '--prompt', 'a red river', ...one]);
    expect(without.stderr).toContain('The model fills in fox: write a prompt with it');
    const none = await msd(['run', wordFolder(join(folder.path, 'no-words')), '--prompt', 'a', ...one]);
    expect(none.stderr).toContain('no mask token to fill in');
  });
});
