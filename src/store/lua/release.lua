-- release: the link could not deliver, or the worker refused. No attempt is spent; a handover is, and at the bound the job is buried.
-- @args -
-- @each worker job fence blocked reason
--   blocked: '1' when the worker said that it is busy: off the list until a probe finds it free
--   reason: one sentence, for the dead letter
-- @returns for each 1 (released) or 0 (the lease was not there any more)
-- @use workers jobs bury match
-- Idempotent by (job, fence).
local reply = {}
for worker, job, fence_, blocked, reason in items() do
  local w = worker_get(worker)
  local j = job_get(job)
  local hit = 0
  if call('HGET', held_key(worker), job) == fence_ and j.state == 'running' and j.fence == fence_ then
    hit = 1
    call('HDEL', held_key(worker), job)
    call('ZREM', LEASES, job)
    if blocked == '1' and w.state then
      w.blocked = true
      call('HSET', worker_key(worker), 'blocked', '1')
    end
    handover(j, HANDOVER_BACKOFF_MS * 2 ^ j.handovers, reason)
    if w.state then settle_or_leave(w) end
  end
  reply[#reply + 1] = hit
end
local more = match()
return done(reply, more)
