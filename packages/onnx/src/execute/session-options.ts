/**
 * ONNX Runtime's options of `InferenceSession.create`: checked for every model, also for one that ONNX Runtime never
 * sees. Messages end with its own words.
 */

const LEVELS: readonly unknown[] = ['disabled', 'basic', 'extended', 'layout', 'all'];
const MODES: readonly unknown[] = ['sequential', 'parallel'];
const PLACES: readonly unknown[] = ['cpu', 'cpu-pinned', 'gpu-buffer', 'ml-tensor'];

/**
 * @throws `TypeError` for a wrong kind, `RangeError` for a wrong value
 */
export function checkSessionOptions(options: Readonly<Record<string, unknown>>): void {
  const { graphOptimizationLevel, executionMode, logSeverityLevel, logVerbosityLevel, extra } = options;
  checkOneOf('graphOptimizationLevel', LEVELS, graphOptimizationLevel, 'unsupported graph optimization level');
  checkOneOf('executionMode', MODES, executionMode, 'unsupported execution mode');
  checkLogSeverity('create', logSeverityLevel);
  if (!isUnset(logVerbosityLevel) && !isWhole(logVerbosityLevel, 0, 4)) {
    throw new RangeError(
      `create: option 'logVerbosityLevel', expected 0 to 4, got ${String(logVerbosityLevel)}: log verbosity level is not valid.`,
    );
  }
  if (options.enableGraphCapture !== undefined && typeof options.enableGraphCapture !== 'boolean') {
    throw new TypeError(
      `create: option 'enableGraphCapture', expected a boolean, got ${String(options.enableGraphCapture)}: enableGraphCapture must be a boolean value.`,
    );
  }
  checkOverrides(options.freeDimensionOverrides);
  checkExtra('create', extra);
  const { preferredOutputLocation: location } = options;
  const places = typeof location === 'object' && location !== null ? Object.values(location) : [location];
  for (const place of places)
    checkOneOf('preferredOutputLocation', PLACES, place, 'Not supported preferred output location');
}

/** ONNX Runtime takes null for an option that is not given. */
const isUnset = (value: unknown): boolean => value === undefined || value === null;

const isWhole = (value: unknown, from: number, to: number): boolean =>
  Number.isInteger(value) && (value as number) >= from && (value as number) <= to;

function checkOneOf(option: string, values: readonly unknown[], value: unknown, words: string): void {
  if (isUnset(value) || values.includes(value)) return;
  throw new RangeError(`create: option '${option}', expected ${values.join(', ')}, got ${String(value)}: ${words}.`);
}

/** @param where 'create' or 'run' */
export function checkLogSeverity(where: string, level: unknown): void {
  if (isUnset(level) || isWhole(level, 0, 4)) return;
  throw new RangeError(
    `${where}: option 'logSeverityLevel', expected 0 (verbose) to 4 (fatal), got ${String(level)}: log severity level is not valid.`,
  );
}

function checkOverrides(overrides: unknown): void {
  if (typeof overrides !== 'object' || overrides === null) return;
  for (const [name, size] of Object.entries(overrides))
    if (!isWhole(size, 0, Number.MAX_SAFE_INTEGER))
      throw new RangeError(
        `create: option 'freeDimensionOverrides', '${name}': free dimension override value must be a non-negative integer, got ${String(size)}.`,
      );
}

/** Entries go to ONNX Runtime as text: names in one another, with numbers, strings and booleans. @param where 'create' or 'run' */
export function checkExtra(where: string, extra: unknown, seen: readonly unknown[] = []): void {
  if (extra === undefined || (extra === null && seen.length === 0)) return;
  const what = `${where}: option 'extra', expected names with numbers, strings, booleans or more names`;
  if (typeof extra !== 'object' || extra === null)
    throw new TypeError(`${what}, got ${extra === null ? 'null' : typeof extra}.`);
  if (seen.includes(extra))
    throw new RangeError(`${what}, got one that contains itself: Circular reference in options.`);
  for (const value of Object.values(extra))
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean')
      checkExtra(where, value ?? null, [...seen, extra]);
}

/** What a dimension with a name is said to be, by its name. */
export type Overrides = ReadonlyMap<string, number>;

/** Names that the model does not have mean nothing, as in ONNX Runtime. */
export function overridesOf(options: Readonly<Record<string, unknown>>): Overrides {
  const { freeDimensionOverrides } = options;
  return new Map(
    typeof freeDimensionOverrides === 'object' && freeDimensionOverrides !== null
      ? Object.entries(freeDimensionOverrides as Record<string, number>)
      : [],
  );
}
