/** What a worker of the pool runs. */
import { chunkArguments } from './job.ts';
import type { Layout, ThreadMessage } from './layout.ts';

/**
 * Serves a pool from inside a Worker, for pages whose CSP forbids `blob:` workers: call it in a script of your own and pass
 * `worker: () => new Worker(…)` to `createBackend`.
 */
export function runThread(): void {
  serve(chunkArguments);
}

/** The same as a script, for workers that have no modules to import it from. */
export const threadCode = (): string => `(${serve})(${chunkArguments})`;

/**
 * Workers get the text of this function, so it uses nothing from outside itself but its argument, and it names no inner function:
 * bundlers would wrap those in helpers that a worker does not have.
 */
function serve(argumentsOf: typeof chunkArguments): void {
  // biome-ignore lint/suspicious/noExplicitAny: a Worker's global scope and Node's port have no common type
  const scope = globalThis as any;
  const port = scope.process?.getBuiltinModule?.('node:worker_threads')?.parentPort ?? scope;
  const pause: (() => void) | undefined = scope.Atomics.pause;
  const kernels: (((...args: number[]) => void) | undefined)[] = [];
  const args: number[] = [];
  let control: Int32Array;
  let layout: Layout;
  let slot = 0;
  let handled = 0;

  port.onmessage = (event: { data: ThreadMessage }) => {
    const message = event.data;
    if ('control' in message) {
      control = message.control;
      layout = message.layout;
      slot = message.slot;
      handled = 0;
      let dots: Uint8Array | null = null;
      if (message.probe) {
        const { module, pairs } = message.probe;
        const memory = new WebAssembly.Memory({ initial: Math.ceil((1.5 * pairs.length) / 65536) });
        dots = new Uint8Array(memory.buffer, pairs.length, pairs.length / 2);
        new Uint8Array(memory.buffer).set(pairs);
        const { exports } = new WebAssembly.Instance(module, { env: { memory } });
        (exports.dots as (...args: number[]) => void)(0, pairs.length, pairs.length / 32);
        dots = dots.slice();
      }
      port.postMessage({ dots });
    } else {
      handled++;
      if ('task' in message) {
        try {
          scope.process.getBuiltinModule('node:vm').runInThisContext(message.task)(message.given);
        } catch {
          // whoever gave the task does what is left of it
        }
        port.postMessage({ hasEnded: true });
      } else if ('drop' in message) for (let i = 0; i < message.drop.length; i++) kernels[message.drop[i]] = undefined;
      else {
        try {
          const instance = new WebAssembly.Instance(message.module, { env: { memory: message.memory } });
          kernels[message.kernel] = instance.exports[message.id] as (...args: number[]) => void;
        } catch {
          // it refuses the chunks of this kernel
        }
      }
    }
    const { ticket, done, sleepers, wake } = layout;
    let idleSince = performance.now();
    // Messages are only delivered to a thread that returns.
    while (Atomics.load(control, layout.mail + slot) === handled) {
      if (slot < control[layout.threads] && Atomics.load(control, ticket) > 0) {
        const chunk = Atomics.sub(control, ticket, 1) - 1;
        if (chunk < 0) continue;
        const kernel = kernels[control[layout.kernel]];
        let flag = 2;
        if (kernel && slot < control[layout.threads]) {
          control[layout.flags + chunk] = -slot;
          const index = control[layout.chunks] - 1 - chunk;
          argumentsOf(control, layout.job, control[layout.argCount], index, slot, args);
          try {
            kernel.apply(null, args);
            const count = control[layout.nextCount];
            if (count > 0) {
              argumentsOf(control, layout.nextJob, count, index, slot, args);
              kernels[control[layout.next]]!.apply(null, args);
            }
            flag = 1;
          } catch {
            // a trap, or it lacks the second kernel: the caller repeats the chunk and meets a trap where it can be thrown
          }
        }
        Atomics.store(control, layout.flags + chunk, flag);
        Atomics.add(control, done, 1);
        idleSince = performance.now();
      } else if (performance.now() - idleSince < layout.spinMs) {
        for (let i = 0; i < 16 && Atomics.load(control, ticket) <= 0; i++) pause?.();
      } else {
        const seen = Atomics.load(control, wake);
        Atomics.add(control, sleepers, 1);
        const busy = slot < control[layout.threads] && Atomics.load(control, ticket) > 0;
        if (!busy && Atomics.load(control, layout.mail + slot) === handled) Atomics.wait(control, wake, seen);
        Atomics.sub(control, sleepers, 1);
        idleSince = performance.now();
      }
    }
  };
}
