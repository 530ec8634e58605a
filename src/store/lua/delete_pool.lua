-- delete_pool: an operator deletes a pool that has no workers and no unfinished jobs, with all that is kept of those it had.
-- @args limit who
--   limit: how many jobs and dead workers a call handles; who: the operator, '' for none
-- @returns {status, n}: deleted | more (call again) | unknown | workers | jobs; n: how many workers or jobs are in its way
-- @use acts workers jobs pools match
-- Each call decides anew: a job or a worker that came meanwhile stops it. Idempotent: deleted once, then unknown.
if not ENTERED then return done({ 'unknown', 0 }, 0) end
local workers_ = call('ZCARD', P .. 'workers')
if workers_ > 0 then return done({ 'workers', workers_ }, 0) end
local jobs_ = backlog() + call('ZCARD', LEASES)
if jobs_ > 0 then return done({ 'jobs', jobs_ }, 0) end

limit = tonumber(limit)
local dead = call('ZRANGE', P .. 'dead', 0, limit - 1)
forget_workers(dead)
local buried = call('ZRANGE', P .. 'buried', 0, limit - 1)
forget_buried(buried)
local finished = call('ZRANGE', P .. 'finished', 0, limit - 1)
for _, id in ipairs(finished) do
  local key = job_key(id)
  call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':result', key .. ':error', key .. ':progress')
end
if #finished > 0 then call('ZREMRANGEBYRANK', P .. 'finished', 0, #finished - 1) end
if not is_empty() then return done({ 'more', 0 }, 0) end
drop_pool()
-- Its events went with it: this one is for whoever ran the script.
news[#news + 1] = { 'pool.deleted', '', 'identity', who }
return done({ 'deleted', 0 }, 0)
