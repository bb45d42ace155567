/** Judges the model in model/, prints tables and writes evaluation.json: `node src/evaluate.ts`. */
import { evaluate, report } from './evaluation.ts';

report(evaluate());
