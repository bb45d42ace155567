/** The stages of attend as kernels of their own, on the pages and words of a bound call: what each of them takes. */

import {
  type AttendOptions,
  eachPage,
  integerValues,
  pageScores,
} from '../../../packages/core/src/attention/attend.wasm.ts';
import { integerReader } from '../../../packages/core/src/attention/integers.wasm.ts';
import { takeQueries } from '../../../packages/core/src/attention/queries.wasm.ts';
import { eachRow, hidesSome } from '../../../packages/core/src/attention/rows.wasm.ts';
import { scoreForms } from '../../../packages/core/src/attention/scores.wasm.ts';
import { openTask, SIXTEEN, type Task } from '../../../packages/core/src/attention/task.wasm.ts';
import { addFloatValues, addIntegerValues } from '../../../packages/core/src/attention/values.wasm.ts';
import { settleLargest, weigher } from '../../../packages/core/src/attention/weights.wasm.ts';
import { i32Params } from '../../../packages/core/src/kernel-spec.ts';
import { type I32, i32, type Module } from '../../../packages/core/src/wasm/emitter.ts';
import { advance } from '../../../packages/core/src/wasm/loops.ts';

/** queries: their integers. scores: Q·K. softmax: maxima, exponentials, integers of weights. values: P·V. */
export const STAGES = ['queries', 'scores', 'softmax', 'values'] as const;
export type Stage = (typeof STAGES)[number];

export const stageId = ({ type }: AttendOptions, stage: Stage): string => `${stage}_${type}`;

/** Every stage takes the queries, since they say which pages are seen. Then it is done so often that this does not count. */
export const turnsFor = (keys: number): number => Math.max(16, Math.ceil(32768 / keys));

/** Arguments: address of attend's words, tasks, and how often each is done. */
export function emitStage(module: Module, options: AttendOptions, stage: Stage): void {
  const { type, carrier, unroll = 1 } = options;
  module.func(stageId(options, stage), i32Params(['work', 'tasks', 'turns']), (f, p) => {
    const reader = type === 'float' ? undefined : integerReader(f, { type, carrier, unroll });
    const first = f.let(i32.const(0));
    const weights = weigher(f);
    f.repeat(p.tasks, () => {
      const task = openTask(f, p.work, first, i32.const(0), reader?.bytes ?? 0);
      if (stage === 'queries') f.repeat(p.turns, () => takeQueries(f, task, reader));
      else {
        takeQueries(f, task, reader);
        f.repeat(p.turns, () => turn(task));
      }
      advance(first, 1);
    });
    /** Once. */
    function turn(task: Task): void {
      const part = (page: I32, isLater: I32, name: 'v' | 'vs') =>
        f.let(i32.add(page, i32.select(isLater, task.word(name), task.word(name === 'v' ? 'firstV' : 'firstVs'))));
      if (stage === 'scores')
        eachPage(f, task, (place) =>
          pageScores(f, task, place, { reader, unroll, isPlain: f.let(i32.eqz(hidesSome(task, place.first))) }),
        );
      if (stage === 'softmax') {
        const forms = scoreForms(f, task);
        eachPage(f, task, (place) => f.when(hidesSome(task, place.first), () => forms(place)));
        eachRow(f, task.count, { row: task.rows }, ({ row }) => settleLargest(f, row));
        if (reader) integerValues(f, task, reader, () => {});
        else
          eachPage(f, task, ({ keys, scores }) => {
            const sixteens = f.let(i32.shrU(i32.add(keys, SIXTEEN - 1), Math.log2(SIXTEEN)));
            const columns = { row: task.rows, weight: task.weights, score: { ...task.scores, at: scores } };
            eachRow(f, task.count, columns, ({ row, score, weight }) =>
              weights.page(row, { scores: score, weights: weight, sixteens }),
            );
          });
      }
      if (stage === 'values')
        eachPage(f, task, ({ at, first, keys }) => {
          const values = part(at, first, 'v');
          if (reader) addIntegerValues(f, task, reader, values, keys);
          else addFloatValues(f, task, values, { keys, unroll, hides: false });
        });
    }
  });
}
