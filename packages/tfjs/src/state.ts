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

export const setRegistration = (registration: Registration | undefined): void => {
  current = registration;
};

export const registration = (): Registration | undefined => current;

/** @throws `TypeError` before `register` was called */
export function requireRegistration(where: string): Registration {
  if (!current) throw new TypeError(`${where}: MSD is not registered. Call register(tf) first.`);
  return current;
}
