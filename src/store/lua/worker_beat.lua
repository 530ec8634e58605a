-- worker_beat: a worker's own word, through whichever replica: that it lives, and what it holds.
-- @args worker boot by
--   by: whose word this is (see `foreign`)
-- @each job fence finished progress
--   finished: '1' when only its result is outstanding; progress: bytes, '' for no news
-- @returns {known, revoked}: known: ok | unknown | dead | superseded | foreign; revoked: for each item 1 when the lease is not the worker's any more,
--   2 when it is another worker's
-- @use workers owners jobs match
local w = worker_get(worker)
local known = 'ok'
if not w.state then
  known = 'unknown'
elseif w.state == 'dead' then
  known = 'dead'
elseif foreign(w, by) then
  known = 'foreign'
elseif boot ~= '' and w.boot ~= boot then
  known = 'superseded'
end
local revoked = {}
if known == 'ok' then call('ZADD', P .. 'workers', 'GT', NOW, worker) end
for job, fence_, finished, progress in items() do
  local j = job_get(job)
  local mine = known == 'ok' and j.state == 'running' and j.fence == fence_ and call('HGET', held_key(worker), job) == fence_
  if mine then
    confirm(j)
    if progress ~= '' then
      call('SET', job_key(job) .. ':progress', progress)
      if not j.progress then call('HSET', job_key(job), 'progress', '1') end
    end
  end
  revoked[#revoked + 1] = mine and 0 or (known == 'ok' and j.fence == fence_ and j.worker ~= worker) and 2 or 1
end
flush()
return { { known, revoked }, assigned, 0 }
