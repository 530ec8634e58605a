-- watch: somebody waits for these jobs at the calling replica, which wants to be told of their end.
-- @args -
-- @each job
-- @returns the state of each, '' when unknown
-- @use workers jobs match
local reply = {}
for job in items() do
  local j = job_get(job)
  if j.state and not is_terminal(j.state) then add_waiter(j) end
  reply[#reply + 1] = j.state or ''
end
return reply
