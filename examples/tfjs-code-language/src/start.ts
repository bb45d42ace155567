/** node src/start.ts [FILE …]: the language of each file, or of this one. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { formatReport } from '@msd/tfjs';
import { LanguageClassifier } from './classify.ts';

console.warn = () => {}; // tfjs recommends its native package
const paths = process.argv.length > 2 ? process.argv.slice(2) : [fileURLToPath(import.meta.url)];
const classifier = await LanguageClassifier.load();
console.log(formatReport(classifier.report));
for (const path of paths) {
  const guesses = await classifier.classify(await readFile(path, 'utf8'));
  const text = guesses.map(({ language, probability }) => `${language} ${(100 * probability).toFixed(1)} %`);
  console.log(`\n${path}: ${text.join(', ')}`);
}
classifier.dispose();
