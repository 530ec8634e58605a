-- release: the link could not deliver, or the worker refused. No attempt is spent; a handover is, and at the bound the job is buried, unless
-- the worker could not be reached: that says nothing of the job, and there is no second try at that worker before a probe has reached it.
-- @args -
-- @each worker job fence link blocked reason
--   link: the epoch of the link that could not; under a newer one the lease was sent again, and is not this caller's to give back
--   blocked: '1' when the worker said that it is busy, '2' when it could not be reached: off the list until a probe finds it free
--   reason: one sentence, for the dead letter
-- @returns for each 1 (released) or 0 (the lease was not there any more)
-- @use workers jobs bury match
-- Idempotent by (job, fence, link).
local reply = {}
for worker, job, fence_, link, blocked, reason in items() do
  local w = worker_get(worker)
  local j = job_get(job)
  local hit = 0
  if w.link == link and call('HGET', held_key(worker), job) == fence_ and j.state == 'running' and j.fence == fence_ then
    hit = 1
    call('HDEL', held_key(worker), job)
    score(LEASES, job, false)
    if blocked ~= '0' and w.state then
      w.blocked = true
      call('HSET', worker_key(worker), 'blocked', '1')
    end
    if blocked == '2' then give_back(j, HANDOVER_BACKOFF_MS) else handover(j, HANDOVER_BACKOFF_MS * 2 ^ math.min(j.handovers, 10), reason) end
    if w.state then settle_or_leave(w) end
  end
  reply[#reply + 1] = hit
end
local more = match()
return done(reply, more)
