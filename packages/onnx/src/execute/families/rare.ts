/** What few graphs have: distances between positions that become buckets, GatherND, Casts around a cache, norms inside of attention. */
import '../create.ts'; // see families.ts
import { headNorms } from '../../ops/attention/head-norms.ts';
import { distances } from '../../ops/distances.ts';
import { gatherNDOperators } from '../../ops/gather-nd.ts';
import { piece } from '../../ops/index.ts';
import { prepared } from '../../passes/prepared.ts';
import type { FetchedFamily } from '../families.ts';
import { family as graphs } from './graphs.ts';

export const family = /* @__PURE__ */ piece<FetchedFamily>({
  operators: gatherNDOperators,
  patterns: { Log: distances },
  late: { headNorms },
  schemas: { counts: {}, kinds: { int: 'batch_dims' } },
  needs: [graphs],
  parts: { prepared },
});
