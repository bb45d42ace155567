/**
 * Runs before the tests if MSD_CARRIER is set, to 'i16' or 'i8': 'auto' then stands for that carrier, in core's source and in the
 * build that the other packages import. What it cannot run, an engine without relaxed SIMD or weights that its dot does not take
 * exactly, stays with i16.
 */
import { automatic as ofBuild } from '../packages/core/dist/node/backends/wasm/routes.js';
import { automatic as ofSource } from '../packages/core/src/backends/wasm/routes.ts';

const carrier = process.env.MSD_CARRIER;
if (carrier !== 'i16' && carrier !== 'i8') throw new RangeError(`MSD_CARRIER: expected i16 or i8, got ${carrier}.`);
ofBuild.carrier = carrier;
ofSource.carrier = carrier;
