-- beat: a home says that it lives, passes on its workers' signs of life, and keeps their leases.
-- Signs are the workers' own; that a home beats says nothing about them.
-- @args leaving
--   leaving: '1' when the caller is stopping: it is no home from now on, and its workers are up for adoption
-- @each what worker link job fence ran
--   what: ms since the worker's last own sign of life (job, fence: ''); 'lease' to keep one, as the worker's home; 'call' to keep one whose call is
--   open at the caller, whoever is the home: the worker may have registered elsewhere meanwhile
--   ran: ms since the lease was sent to the worker, '' where that is not known
-- @returns for each: ok | not_home | gone (no such lease) | cancelled | foreign (another worker's lease)
-- @use workers jobs match
-- A lease's next look is min(now + LEASE_MS, its run deadline), and it counts as delivered: its run timeout began when it was sent. Only
-- leases that exist are kept.
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
if leaving == '1' then
  -- Not forgotten: tick finds it dead, and its workers get new homes.
  call('ZADD', P .. 'homes', 0, HOME)
else
  call('ZADD', P .. 'homes', NOW, HOME)
end
local reply = {}
local known = {}
for what, worker, link, job, fence_, ran in items() do
  local w = known[worker] or worker_get(worker)
  known[worker] = w
  local answer = 'ok'
  if what ~= 'call' and (w.home ~= HOME or w.link ~= link) then
    answer = 'not_home'
  elseif what == 'lease' or what == 'call' then
    local j = job_get(job)
    if j.state == 'running' and j.fence == fence_ and call('HGET', held_key(worker), job) == fence_ then
      confirm(j, tonumber(ran))
    else
      answer = 'gone'
      if j.fence == fence_ then
        if j.worker ~= worker then answer = 'foreign' elseif j.state == 'cancelled' then answer = 'cancelled' end
      end
    end
  elseif w.state and w.state ~= 'dead' then
    local at = NOW - tonumber(what)
    call('ZADD', P .. 'workers', 'GT', at, worker)
    local suspected = tonumber(call('HGET', worker_key(worker), 'suspected') or 0)
    -- A suspicion of a time yet to come is from before the clock stepped back, in a pool that no tick had looked at: any sign of life is younger.
    if w.state == 'suspect' and (at > suspected or suspected > NOW) then restore(w) end
  else
    answer = 'gone'
  end
  reply[#reply + 1] = answer
end
local more = match()
return done(reply, more)
