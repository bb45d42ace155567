/** The chat as a child process, with the story model: as text, as a chat, and with a name that leads nowhere. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const story = fileURLToPath(new URL('../../story-model/generated', import.meta.url));
const script = fileURLToPath(new URL('chat.ts', import.meta.url));
const chat = (input: string, ...args: string[]) =>
  spawnSync(process.execPath, [script, ...args], { input, encoding: 'utf8', timeout: 60_000 });

describe('the chat', () => {
  it('goes on with a text, on MSD', () => {
    const { stdout, stderr, status } = chat('In an old castle lived a cheerful little boy named Tom.\n', story);
    expect(stdout).toMatch(/MSD runs (\d+) of \1 nodes/);
    expect(stdout).toContain('Tom had only one wish, and that was a golden ball.');
    expect([stderr, status]).toEqual(['', 0]);
  });

  it('keeps the conversation, if the model was trained to chat', () => {
    const folder = mkdtempSync(join(tmpdir(), 'chat-'));
    cpSync(story, folder, { recursive: true });
    const path = join(folder, 'tokenizer_config.json');
    const chat_template = "<s> {% for message in messages %}{{ message['content'] }} {% endfor %}";
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), chat_template }));
    const { stdout, status } = chat(
      'Long ago, in a dark forest, there lived a curious fox named Lily.\nOne day\n',
      folder,
    );
    rmSync(folder, { recursive: true });
    const [, first, second] = stdout.split('\n> ');
    expect(first).toMatch(/Lily/);
    expect(second).toMatch(/Lily|the fox|She/); // "One day" alone would be of somebody else
    expect(status).toBe(0);
  });

  it('says what it needs when there is no such model', () => {
    const { stderr, status } = chat('', './nowhere');
    expect(stderr).toMatch(
      /\.\/nowhere could not be loaded with q4 weights: .*\nName a text model of the hub, or a folder/,
    );
    expect(status).toBe(1);
  });
});
