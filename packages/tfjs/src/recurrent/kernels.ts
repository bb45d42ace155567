/** What of recurrent layers is fetched with the first of them. */
export { recurrentCalls } from './calls.ts';
export { areKnown } from './gates.ts';
export { loopCalls } from './loop-calls.ts';
