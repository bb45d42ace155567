/**
 * Executions of graph models that have begun and not ended. Each goes on with the weights that the model had when it began, so what
 * replaces them waits until it is over.
 */
import type { ConverterNamespace } from '../peers.ts';
import type { Tensor } from '../tf.ts';
import { checkOutputs } from './packed-nodes.ts';

const running = /* @__PURE__ */ new WeakMap<object, Set<Promise<void>>>();
const watched = /* @__PURE__ */ new WeakSet<object>();

/** Once per copy of tfjs-converter. `execute` waits for nothing and is never half-way. Neither gives packed weights out as results. */
export function watchExecutions({ GraphModel }: Pick<ConverterNamespace, 'GraphModel'>): void {
  const methods = GraphModel.prototype;
  if (watched.has(methods)) return;
  watched.add(methods);
  const { execute, executeAsync } = methods;
  methods.execute = function (inputs, outputs) {
    checkOutputs(this, outputs, 'execute');
    return execute.call(this, inputs, outputs);
  };
  methods.executeAsync = async function (inputs, outputs) {
    checkOutputs(this, outputs, 'executeAsync');
    const all = running.get(this) ?? new Set();
    running.set(this, all);
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    all.add(ended);
    try {
      return await executeAsync.call(this, inputs, outputs);
    } finally {
      all.delete(ended);
      end();
    }
  };
}

/** Disposes at once of what no execution uses that runs now, else when those that do are over. */
export function disposeWhenUnused(model: object, tensors: readonly Tensor[]): void {
  const dispose = () => {
    for (const tensor of tensors) tensor.dispose();
  };
  const now = running.get(model);
  if (now?.size) void Promise.all(now).then(dispose);
  else dispose();
}
