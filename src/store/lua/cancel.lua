-- cancel: ends jobs that have not ended. A running one is cancelled at once: its worker is told, its slot is quarantined.
-- @args -
-- @each job
-- @returns for each the state that it was in, '' when unknown; terminal states stay as they are
-- @use workers jobs match
-- Idempotent; the first script that ends a job wins.
local reply = {}
for job in items() do
  local j = job_get(job)
  reply[#reply + 1] = j.state or ''
  if j.state == 'waiting' or j.state == 'scheduled' then
    dequeue(j)
    terminal(j, 'cancelled')
  elseif j.state == 'running' then
    score(LEASES, job, false)
    quarantine(j, worker_get(j.worker))
    terminal(j, 'cancelled')
  end
end
flush()
return reply
