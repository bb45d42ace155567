/**
 * What a worker of the pool runs. The default workers get the text of this function, so it uses nothing from outside itself,
 * and it names no inner function: bundlers would wrap those in helpers that a worker does not have.
 */
import type { Layout, ThreadMessage } from './layout.ts';

/**
 * Serves a pool from inside a Worker, for pages whose CSP forbids `blob:` workers: call it in a script of your own and pass
 * `worker: () => new Worker(…)` to `createBackend`.
 */
export function runThread(): void {
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
      if ('drop' in message) for (let i = 0; i < message.drop.length; i++) kernels[message.drop[i]] = undefined;
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
          const rowChunks = control[layout.rowChunks];
          const row = (index % rowChunks) * control[layout.rowSize];
          const rows = Math.min(control[layout.rowSize], control[layout.rowTotal] - row);
          const total = control[layout.panelTotal];
          const unit = control[layout.panelUnit];
          const units = Math.ceil(total / unit);
          const early = control[layout.early];
          const leaves = control[layout.leaves];
          const last = control[layout.last];
          let panel = 0;
          let end = 0;
          for (let i = Math.floor(index / rowChunks), next = i + 1; i <= next; i++) {
            const round = Math.min(Math.floor(i / early), control[layout.rounds]);
            const j = i - round * early;
            panel = end;
            end =
              round < control[layout.rounds]
                ? units - Math.floor((units * (leaves * early - (leaves - 1) * j)) / (early * leaves ** (round + 1)))
                : units - Math.floor((units * (last - j)) / (last * leaves ** round));
            end = Math.min(total, unit * end);
          }
          const panels = end - panel;
          args.length = control[layout.argCount];
          for (let i = 0, at = layout.args; i < args.length; i++, at += 6)
            args[i] =
              control[at] +
              control[at + 1] * slot +
              control[at + 2] * row +
              control[at + 3] * rows +
              control[at + 4] * panel +
              control[at + 5] * panels;
          try {
            kernel.apply(null, args);
            flag = 1;
          } catch {
            // a trap: the caller repeats the chunk and meets it where it can be thrown
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
