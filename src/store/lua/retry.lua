-- retry: dead letters go back into their queue, with attempts and handovers counted anew.
-- @args who
--   who: the operator who retries them all, '' for none
-- @each job buried
--   buried: its score in `buried`, as the caller read it; '' for whatever it is
-- @returns for each: retried | not_buried | unknown | family <family> (the pool's workers cannot run it)
-- @flags deny-oom
-- @use acts workers jobs match
-- Compare-and-set on the time of burial.
local reply, retried = {}, 0
local settled = pool_state()
for job, buried in items() do
  local j = job_get(job)
  local score = call('ZSCORE', P .. 'buried', job)
  if not j.state then
    reply[#reply + 1] = 'unknown'
    if score then call('ZREM', P .. 'buried', job) end
  elseif j.state ~= 'failed' or not score or (buried ~= '' and tonumber(buried) ~= tonumber(score)) then
    reply[#reply + 1] = 'not_buried'
  elseif not runs(settled, j.kind, j.method) then
    reply[#reply + 1] = 'family ' .. settled
  else
    local key = job_key(job)
    call('ZREM', P .. 'buried', job)
    call('PERSIST', key)
    call('PERSIST', key .. ':payload')
    if j.metadata then call('PERSIST', key .. ':metadata') end
    call('UNLINK', key .. ':error')
    -- Its deadlines were of its first life.
    call('HDEL', key, 'finished', 'next', 'queue', 'total')
    call('HSET', key, 'attempt', '0', 'handovers', '0')
    enqueue(j, false)
    event('job.retried', job)
    reply[#reply + 1] = 'retried'
    retried = retried + 1
  end
end
if retried > 0 then act(who, 'RetryBuried', '', 'count', retried) end
local more = match()
return done(reply, more)
