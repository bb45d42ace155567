/** What few graphs have: distances between positions that become buckets, and Casts around a cache. */
import { distances } from '../../ops/distances.ts';
import { piece } from '../../ops/index.ts';
import { prepared } from '../../passes/prepared.ts';
import type { FetchedFamily } from '../families.ts';
import { family as graphs } from './graphs.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: [],
  patterns: { Log: distances },
  needs: [graphs],
  parts: { prepared },
});
