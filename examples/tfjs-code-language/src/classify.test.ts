import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LanguageClassifier } from './classify.ts';

const PYTHON =
  'import os\n\ndef walk(path):\n    for name in os.listdir(path):\n        print(name)\n\nif __name__ == "__main__":\n    walk(".")\n';
const RUST =
  'use std::io;\n\nfn main() -> io::Result<()> {\n    let mut line = String::new();\n    io::stdin().read_line(&mut line)?;\n    println!("{}", line.trim());\n    Ok(())\n}\n';

describe('the language classifier', () => {
  let classifier: LanguageClassifier;
  beforeAll(async () => {
    classifier = await LanguageClassifier.load();
  });
  afterAll(() => {
    classifier.dispose();
    expect(tf.memory().numTensors).toBe(0);
  });

  it('keeps the integers of the manifest', () => {
    const { nodes, weightBytes, stockBytes } = classifier.report;
    expect(weightBytes / stockBytes).toBeLessThan(0.35);
    for (const { weights } of nodes) if (weights) expect(weights.how).toBe('stored integers kept');
  });

  it.each([
    ['ts', readFileSync(new URL('./classify.ts', import.meta.url), 'utf8')],
    ['py', PYTHON],
    ['rs', RUST],
  ])('knows %s', async (language, text) => {
    const [first] = await classifier.classify(text);
    expect(first!.language).toBe(language);
    expect((await classifier.classify(text))[0]).toEqual(first);
  });
});
