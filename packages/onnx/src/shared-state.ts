/** What all copies of this package on a page share, under `Symbol.for('msd.backend')`. */
import { UnsupportedError } from '@msd/core';
import type { MsdOptions } from './execute/options.ts';
import type { OrtBackend, OrtModule } from './ort.ts';

/** One module's registration: its backend object, and the defaults that the last `register` gave. */
export interface Registration {
  readonly backend: OrtBackend;
  /** The module with its own `create`, whoever replaces that later: what runs in ONNX Runtime must not come back here. */
  readonly stock: OrtModule;
  /** The module's own `create`, without more. */
  readonly create: (...args: unknown[]) => Promise<object>;
  defaults: MsdOptions;
  /** What has to be there before ONNX Runtime creates a session of its own. */
  beforeStock: (() => Promise<void>) | undefined;
  /** Is `create` of its `InferenceSession` MSD's? */
  isTakenOver: boolean;
  /** Makes MSD's code ready beside a download, unless there is or was a session, or the user does not want it. */
  warm(): void;
}

/**
 * Every ONNX Runtime bundle has a registry of its own, and a registry refuses a second object under one name: the first
 * registration of each stays.
 */
export interface SharedState {
  readonly version: 2;
  /** By the registry's own `registerBackend` function. */
  readonly registrations: WeakMap<object, Registration>;
  readonly warned: Set<string>;
  /** Of `configure`: defaults for all modules. */
  configured: MsdOptions;
}

const SHARED: unique symbol = /* @__PURE__ */ Symbol.for('msd.backend');

export function sharedState(): SharedState {
  const holder = globalThis as { [SHARED]?: SharedState };
  holder[SHARED] ??= { version: 2, registrations: new WeakMap(), warned: new Set(), configured: {} };
  const state = holder[SHARED];
  if (state.version !== 2) {
    throw new UnsupportedError(
      `register: another copy of @msd/onnx on this page keeps its state in version ${String(state.version)}, expected 2. Load one version only.`,
    );
  }
  return state;
}

/** Says something once on a page, whichever copy of this package says it. */
export function once(text: string, say: (text: string) => void): void {
  const { warned } = sharedState();
  if (warned.has(text)) return;
  warned.add(text);
  say(text);
}
