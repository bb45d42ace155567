/**
 * Takes over `InferenceSession.create` of a module of the ONNX Runtime family: sessions for the CPU run in MSD where that is
 * faster, all others are left alone.
 */
import { messageOf } from './errors.ts';
import { isLeft, TAKEN_OVER } from './left.ts';
import { isLogged, log } from './log.ts';
import type { OrtModule } from './ort.ts';
import { registrationOf } from './register.ts';
import { once, type Registration } from './shared-state.ts';

/** Models up to this size are no work for MSD's kernels: Transformers.js builds such graphs for single operators. */
const TINY_BYTES = 2048;

/** Providers that compute on the CPU. */
const ON_CPU: ReadonlySet<unknown> = /* @__PURE__ */ new Set(['wasm', 'cpu']);

type Model = string | Uint8Array;
type Options = Readonly<Record<string, unknown>>;
type Create = Registration['create'];

/**
 * Replaces `create` of the module's `InferenceSession`, for everybody who uses the module. Idempotent.
 */
export function takeOver(ort: OrtModule): void {
  const registration = registrationOf(ort);
  if (registration.isTakenOver) return;
  registration.isTakenOver = true;
  (ort.InferenceSession as { create: unknown }).create = createOf(registration);
}

function createOf({ stock, create }: Registration): Create {
  const stockCreate = stock.InferenceSession.create as Create;
  return async (...args) => {
    const asked = askedOf(args);
    if (!asked) return stockCreate(...args);
    if (isMsd(asked)) return create(...args);
    const { model, options } = asked;
    if (!isOnCpu(options)) return stockCreate(...args);
    if (isTiny(asked)) {
      const make = () => stockCreate(...args);
      const own = import('./one-operator.ts').then(
        ({ oneOperatorSession }) => oneOperatorSession(stock, model as Uint8Array, make),
        () => undefined, // code that is not there is no reason to fail
      );
      return (await own) ?? make();
    }
    try {
      return await create(model, { ...options, executionProviders: [{ name: 'msd', [TAKEN_OVER]: true }] });
    } catch (error) {
      if (isAbort(error)) throw error;
      if (!isLeft(error)) {
        const session = await stockCreate(...args);
        const text = `a model is left to ONNX Runtime, MSD could not load it: ${messageOf(error)}`;
        if (isLogged(stock, 'error')) once(text, (said) => console.warn(`msd: ${said}`));
        return session;
      }
      log(stock, 'info', `a model is left to ONNX Runtime, which runs all of it: ${error.message}`);
      if (!error.model) return stockCreate(...args);
      const { externalData } = error;
      return stockCreate(error.model, externalData ? { ...options, externalData } : options);
    }
  };
}

interface Asked {
  readonly model: Model;
  readonly options: Options;
}

/** The arguments of `create`, taken apart; `undefined` for those that ONNX Runtime has to refuse with its own message. */
function askedOf([model, ...rest]: readonly unknown[]): Asked | undefined {
  const numbers = rest.filter((value) => typeof value === 'number');
  const options = rest.find((value) => typeof value === 'object' && value !== null) ?? {};
  if (rest.length > numbers.length + 1 || (rest.length > numbers.length && typeof rest.at(-1) !== 'object'))
    return undefined;
  if (typeof model === 'string' || model instanceof Uint8Array)
    return numbers.length === 0 ? { model, options: options as Options } : undefined;
  if (!isBuffer(model)) return undefined;
  const [from = 0, length = model.byteLength - from] = numbers as number[];
  if (!(from >= 0 && length > 0 && from + length <= model.byteLength)) return undefined;
  return { model: new Uint8Array(model, from, length), options: options as Options };
}

function isBuffer(value: unknown): value is ArrayBuffer {
  return (
    value instanceof ArrayBuffer || (typeof SharedArrayBuffer !== 'undefined' && value instanceof SharedArrayBuffer)
  );
}

const isTiny = ({ model, options }: Asked): boolean =>
  typeof model !== 'string' && model.byteLength <= TINY_BYTES && !options.externalData;

const isOnCpu = (options: Options): boolean => namesOf(options).every((name) => ON_CPU.has(name));

/** Does the caller name MSD? Then ONNX Runtime is not started before the session needs it. */
const isMsd = ({ options }: Asked): boolean => namesOf(options).includes('msd');

/** Names of execution providers. A value that is no list is ONNX Runtime's to refuse. */
function namesOf({ executionProviders: providers }: Options): unknown[] {
  if (providers === undefined || providers === null) return [];
  return Array.isArray(providers) ? providers.map((entry) => (entry as Options | null)?.name ?? entry) : [undefined];
}

const isAbort = (error: unknown): boolean => error instanceof Error && error.name === 'AbortError';
