/**
 * A session's profile in ONNX Runtime Web's form: events of Chrome's trace format. It prints its own to the console
 * when a profile ends; MSD's look the same, so both can be put into one trace. Each starts its clock with its session.
 */

/** A stretch of time, in microseconds since the profile began. */
export interface ProfileEvent {
  readonly cat: 'Session' | 'Node';
  readonly pid: number;
  readonly tid: number;
  readonly dur: number;
  readonly ts: number;
  readonly ph: 'X';
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** ONNX Runtime's process is 42; its threads have larger numbers. */
const PROCESS = 42;
const THREAD = 1;

/** Longer profiles keep their beginning: as many as ONNX Runtime keeps. */
const MAX_EVENTS = 1_000_000;

export class Profile {
  readonly #start: number;
  readonly #events: ProfileEvent[] = [];

  /** @param start as `performance.now()` gives it */
  constructor(start: number = performance.now()) {
    this.#start = start;
  }

  now(): number {
    return performance.now();
  }

  /** Something that began at `start` ends now. */
  add(cat: ProfileEvent['cat'], name: string, start: number, args: ProfileEvent['args']): void {
    if (this.#events.length >= MAX_EVENTS) return;
    const [ts, dur] = [start - this.#start, performance.now() - start].map((ms) => Math.round(1000 * ms));
    this.#events.push({ cat, pid: PROCESS, tid: THREAD, dur: dur!, ts: ts!, ph: 'X', name, args });
  }

  get events(): readonly ProfileEvent[] {
    return this.#events;
  }

  /** One event on each line, as ONNX Runtime prints them. */
  toString(): string {
    return `[\n${this.#events.map((event) => JSON.stringify(event)).join(',\n')}\n]`;
  }
}
