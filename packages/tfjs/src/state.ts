/** The namespace that was registered last, and its options. */
import type { ResolvedOptions } from './options.ts';
import type { ConverterNamespace, LayersNamespace } from './peers.ts';
import type { TfNamespace } from './tf.ts';

export interface Registration {
  readonly tf: TfNamespace;
  readonly options: ResolvedOptions;
  readonly converter?: ConverterNamespace | undefined;
  readonly layers?: LayersNamespace | undefined;
}

let current: Registration | undefined;
let last: Registration | undefined;

export const setRegistration = (registration: Registration | undefined): void => {
  current = registration;
  last = registration ?? last;
};

export const registration = (): Registration | undefined => current;

/** @throws `TypeError` before `register` was called */
export function requireRegistration(where: string): Registration {
  if (!current) throw new TypeError(`${where}: MSD is not registered. Call register(tf) first.`);
  return current;
}

/** The namespace that models were changed with: they can be restored after `unregister`. */
export function lastNamespace(where: string): TfNamespace {
  return (current ?? last ?? requireRegistration(where)).tf;
}
