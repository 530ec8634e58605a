-- A worker's leases when the caller has just become its owner: {job, fence, delivered, quarantined} of each. Fences stay, leases move. What was
-- never delivered goes into the reply as an assignment, and so do the delivered leases of a RUNNER, which answers from what it has.
-- `carried`: the former owner lives. The calls that it has open to a LEGACY or METHOD worker go on there, and it renews them. What it was about
-- to send counts as delivered: sent from here too it would run twice.
local function take_over(w, carried)
  local leases = {}
  local held = call('HGETALL', held_key(w.id))
  for i = 1, #held, 2 do
    local job, f = held[i], held[i + 1]
    if string.sub(f, 1, 1) == '!' then
      leases[#leases + 1] = { job, string.sub(f, 2), 0, 1 }
    else
      local j = job_get(job)
      leases[#leases + 1] = { job, f, j.delivered and 1 or 0, 0 }
      if j.state == 'running' and j.fence == f then
        if w.contract == 'RUNNER' or not (j.delivered or carried) then
          assignment(j, w)
        elseif not j.delivered then
          call('HSET', job_key(job), 'delivered', '1')
          score(LEASES, job, NOW + DELIVERY_MS)
        end
      end
    end
  end
  return leases
end
