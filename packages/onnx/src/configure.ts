/** Default options for all sessions, wherever they are created. */
import { type MsdOptions, resolveOptions } from './execute/options.ts';
import { sharedState } from './shared-state.ts';

/**
 * Sets MSD's options for every session that is created from now on, in every module of ONNX Runtime on this page or in this
 * worker. Options of `register` and of a session come first. A later call changes only the options that it names; `undefined` sets
 * one back to its default.
 *
 * @throws `TypeError` for an option that is unknown or of the wrong kind, `RangeError` for a wrong value.
 * @example
 * ```ts
 * import { configure } from '@msd/onnx/transformers';
 *
 * configure({ kvCache: 'int8', threads: 2 });
 * ```
 */
export function configure(options: MsdOptions): void {
  checkDefaults('configure', options);
  const state = sharedState();
  state.configured = { ...state.configured, ...options };
}

/** @param where the function that takes the options, for messages */
export function checkDefaults(where: string, options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    const got = options === null ? 'null' : Array.isArray(options) ? 'an array' : typeof options;
    throw new TypeError(`${where}: options, expected an object like { components: 1 }, got ${got}.`);
  }
  resolveOptions(options);
}
