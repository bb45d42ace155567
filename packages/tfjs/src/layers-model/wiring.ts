/**
 * Do the layers of a model find each other? Stock calls a layer again and again until the layers that it reads have been called, and never
 * stops where one does not exist, or where they wait for each other.
 */
import { ModelFormatError, shown } from '../errors.ts';

/** A model's config, in either spelling of keys. */
interface Config {
  readonly layers?: readonly LayerData[];
}
interface LayerData {
  readonly name?: unknown;
  readonly class_name?: unknown;
  readonly className?: unknown;
  readonly config?: Config & { readonly name?: unknown };
  readonly inbound_nodes?: unknown;
  readonly inboundNodes?: unknown;
}

/** A layer while the model is put together: calls so far, and those that are left. */
interface State {
  calls: number;
  waiting: (readonly unknown[])[];
}

/** @throws {@link ModelFormatError} where stock would not end */
export function checkWiring({ layers }: Config): void {
  if (!Array.isArray(layers) || !layers.some((data) => nodesOf(data).length)) return;
  const states = new Map<unknown, State>();
  const byOwnName = new Map<unknown, State>();
  for (const given of layers as (LayerData | null | undefined)[]) {
    const data = given ?? {};
    const nodes = nodesOf(data);
    const odd = nodes.find((node) => !isCall(node));
    if (odd !== undefined)
      throw new ModelFormatError(`model: layer ${shown(data.name)}, expected lists of inputs, got ${shown(odd)}.`);
    const own = data.config?.name ?? data;
    // Calls wait under the name that the layer has, and are found under the one that the model gives it.
    const state = {
      calls: startsCalled(data) ? 1 : 0,
      waiting: [...(byOwnName.get(own)?.waiting ?? []), ...nodes.filter(isCall)],
    };
    states.set(data.name, state);
    byOwnName.set(own, state);
  }
  const all = new Set([...states.values(), ...byOwnName.values()]);
  for (let left = -1; ; ) {
    for (const state of states.values()) {
      const waiting = state.waiting.splice(0);
      for (const call of waiting) {
        if (!isReady(call, states)) state.waiting.push(call);
        else if (call.length) state.calls++;
      }
    }
    const count = [...all].reduce((sum, { waiting }) => sum + waiting.length, 0);
    if (count === 0) return;
    if (count === left) refuse(states, all);
    left = count;
  }
}

function refuse(states: ReadonlyMap<unknown, State>, all: ReadonlySet<State>): never {
  const [name, { waiting }] = [...states].find(([, state]) => state.waiting.length) ?? [
    undefined,
    [...all].find((state) => state.waiting.length)!,
  ];
  const inputs = waiting[0]!.map((input) => (input as unknown[])[0]);
  throw new ModelFormatError(
    `model: layer ${shown(name)}, expected to read layers of the model that are called before it, got ${shown(inputs)}.`,
  );
}

/** Inputs and models are called once while they are made. */
const startsCalled = ({ class_name, className, config }: LayerData): boolean =>
  (class_name ?? className) === 'InputLayer' || Array.isArray(config) || Array.isArray(config?.layers);

const nodesOf = (data: LayerData | null | undefined): readonly unknown[] => {
  const nodes = data?.inbound_nodes ?? data?.inboundNodes;
  return Array.isArray(nodes) ? nodes : [];
};

/** [[layer, call, output, arguments], …] */
const isCall = (node: unknown): node is readonly unknown[] =>
  Array.isArray(node) && node.every((input) => Array.isArray(input));

const isReady = (call: readonly unknown[], states: ReadonlyMap<unknown, State>): boolean =>
  call.every((input) => {
    const [name, index] = input as [unknown, unknown];
    const state = states.get(name);
    return state !== undefined && !(state.calls <= (index as number));
  });
