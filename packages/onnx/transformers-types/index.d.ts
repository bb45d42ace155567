// The part of Transformers.js that this package and its tests use: its own declarations don't compile without skipLibCheck.
import type { TransformersEnv } from '../src/transformers-env.ts';

export declare const env: TransformersEnv;
