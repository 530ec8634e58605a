-- accept: the home took a hint, or is about to send assignments that grew old in its hands: which still stand?
-- @args -
-- @each worker link job fence
-- @returns for each 1 (valid: its assignment is in the reply) or 0 (drop it)
-- @use workers jobs match
-- Writes nothing but that the home has the lease.
local reply = {}
for worker, link, job, fence_ in items() do
  local w = worker_get(worker)
  local j = job_get(job)
  local valid = w.home == HOME and (link == '' or w.link == link) and j.state == 'running' and j.fence == fence_
    and call('HGET', held_key(worker), job) == fence_
  if valid then assignment(j, w) end
  reply[#reply + 1] = valid and 1 or 0
end
return { reply, assigned, 0 }
