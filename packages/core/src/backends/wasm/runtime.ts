/** What all calls of a WASM device share: its memory, kernels, threads and working buffers. */

import { type Cuts, ONE_THREAD } from '../../plan/cut.ts';
import type { Team } from '../../threads/team.ts';
import type { CarrierChoice } from '../../wasm/features.ts';
import { Arena, type ArenaHandle, type ArenaOptions } from '../arena.ts';
import type { PageDevice } from '../device.ts';
import { Kernels } from './kernels.ts';
import { Routes } from './routes.ts';
import { Scratch } from './scratch.ts';

export class Runtime {
  readonly arena: Arena;
  readonly kernels: Kernels;
  readonly routes: Routes;
  readonly scratch: Scratch;
  readonly team: Team;
  readonly pages: PageDevice<ArenaHandle>;
  /** Moves everything to a memory that nobody else writes. */
  readonly leave: () => void;

  constructor(options: ArenaOptions, carrier: CarrierChoice, team: Team) {
    this.team = team;
    this.arena = new Arena({ ...options, shared: options.shared || team.count > 1 });
    const { arena } = this;
    this.pages = {
      alloc: (byteLength, label) => arena.alloc(byteLength, label),
      free: (handle) => arena.free(handle),
      write: (handle, data) => arena.write(handle, data),
      read: (handle, into) => arena.read(handle, into),
      clear: (handle) => {
        arena.bytes(handle).fill(0);
      },
      copy: (from, to) => arena.bytes(to).set(arena.bytes(from)),
      addressOf: ({ ptr }) => ptr,
      caches: new Set(),
    };
    this.kernels = new Kernels(this.arena, team);
    this.routes = new Routes(this.kernels, carrier);
    this.scratch = new Scratch(this.arena);
    this.arena.onMove(() => this.kernels.forget());
    this.leave = () => this.arena.move();
  }

  /** Threads that a call can have now. */
  get threads(): number {
    return this.arena.shared ? this.team.count : 1;
  }

  /** How they share a call. */
  get cuts(): Cuts {
    return this.arena.shared ? this.team.cuts : ONE_THREAD;
  }
}
