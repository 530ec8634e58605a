import { jobSpec } from '../../src/sdk/run.js';
import { PAYLOAD } from './muster.js';
import type { Stage } from './stage.js';

const BATCH = 500;
const BATCHES_AT_ONCE = 4;

/** Puts jobs of priority 0 into the stage's pool until so many wait there. */
export async function fillBacklog({ apis, pools, stats }: Stage, count: number): Promise<void> {
  const [api] = apis;
  const [pool = ''] = pools;
  if (api === undefined) return;
  let missing = count - (await stats.waiting(pool, 0));
  const lane = async () => {
    while (missing > 0) {
      const length = Math.min(BATCH, missing);
      missing -= length;
      const specs = Array.from({ length }, () => jobSpec({ pool, work: { $case: 'kind', value: 'noop' }, payload: PAYLOAD }));
      const { results } = await api.batchSubmitJobs({ specs });
      const refused = results.find(({ created }) => !created);
      if (refused) throw new Error(`a job was refused: ${refused.message}`);
    }
  };
  await Promise.all(Array.from({ length: BATCHES_AT_ONCE }, lane));
}
