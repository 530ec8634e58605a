-- adopt: the caller becomes the home of a worker that it has reached.
-- @args worker boot link
--   boot, link: as the caller saw them when it began
-- @returns {status, link, leases}: ok | stale; leases: {job, fence, delivered, quarantined} of all that it holds
-- @use workers jobs match
-- Compare-and-set on (boot, link). Fences stay, leases move. The undelivered leases, and the delivered ones of a RUNNER, are in the reply
-- as assignments: the caller sends them again with the same fence, and the worker answers from what it has.
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.link ~= link then return done({ 'stale', w.link or '0', {} }, 0) end
w.home = HOME
w.link = int(tonumber(w.link) + 1)
call('HSET', worker_key(worker), 'home', HOME, 'link', w.link)
call('HDEL', worker_key(worker), 'misses')
call('ZADD', P .. 'workers', 'GT', NOW, worker)
call('ZADD', P .. 'homes', NOW, HOME)
event('worker.adopted', worker, 'home', HOME)
local leases = {}
local held = call('HGETALL', held_key(worker))
for i = 1, #held, 2 do
  local job, f = held[i], held[i + 1]
  if string.sub(f, 1, 1) == '!' then
    leases[#leases + 1] = { job, string.sub(f, 2), 0, 1 }
  else
    local j = job_get(job)
    leases[#leases + 1] = { job, f, j.delivered and 1 or 0, 0 }
    if j.state == 'running' and j.fence == f and (not j.delivered or w.contract == 'RUNNER') then assignment(j, w) end
  end
end
if w.state == 'suspect' then restore(w) else settle(w) end
local more = match()
return done({ 'ok', w.link, leases }, more)
