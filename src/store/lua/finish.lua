-- finish: attempts end with their results, and their workers go on with the next job.
-- @args claims
--   claims: '1' when the caller may be given further jobs, '0' when it is stopping
-- @each worker boot job fence link outcome code retryable reason blob delay
--   link: the link epoch under which the caller holds the worker, '' when the result came by another way (Report)
--   outcome: 'ok' | 'failed' | 'refused'; refused is a result that must not be accepted whatever it was, with its failure (too large)
--   blob: the output's bytes, or the failure's JSON; code, retryable ('1'|'0'), reason: of the failure
--   delay: ms that the worker asked for before the next attempt, '' for none
-- @returns for each {verdict, state, attempt, started, finished, created}: accepted | duplicate | stale | gone | cancelled | foreign; state of the job after
--   foreign: the job's lease of that fence is another worker's; nothing was written
-- @use workers jobs bury match
-- Idempotent by (job, fence): accepted once; again, and the verdict is duplicate, nothing is claimed anew, and the worker's undelivered
-- leases are answered once more, in case that the first reply was lost.
local reply = {}
local freed, links, slots, order = {}, {}, {}, {}
local again = {}

local function free_slot(w, link)
  if not freed[w.id] then
    order[#order + 1] = w.id
    freed[w.id] = w
    links[w.id] = link
    slots[w.id] = 0
  end
  slots[w.id] = slots[w.id] + 1
end

for worker, boot, job, fence_, link, outcome, code, retryable, reason, blob, delay in items() do
  local w = freed[worker] or worker_get(worker)
  local held = w.boot == boot and held_fence(w, job)
  local j = job_get(job)
  local verdict = 'stale'
  if held == fence_ and j.state == 'running' and j.fence == fence_ then
    verdict = 'accepted'
    let_go(w, job)
    score(LEASES, job, false)
    if outcome == 'ok' then
      local keep = terminal(j, 'succeeded', HOME, fence_)
      call('SET', job_key(job) .. ':result', blob, 'PX', keep)
    else
      call('HSET', job_key(job), 'done', fence_)
      attempt_failed(j, code, retryable == '1', reason, blob, delay, HOME)
    end
    free_slot(w, link)
  elseif held == '!' .. fence_ then
    w.holds = nil
    unhold(worker, job, fence_)
    if j.state == 'cancelled' then verdict = 'cancelled' elseif not j.state then verdict = 'gone' end
    free_slot(w, link)
  elseif not j.state then
    verdict = 'gone'
    if held == fence_ then
      w.holds = nil
      unhold(worker, job, fence_)
      free_slot(w, link)
    end
  elseif j.fence == fence_ and j.worker ~= worker then
    verdict = 'foreign'
  elseif j.done == fence_ then
    verdict = 'duplicate'
    again[worker] = w
  elseif j.state == 'cancelled' and j.fence == fence_ then
    verdict = 'cancelled'
  end
  reply[#reply + 1] = { verdict, j.state or '', int(j.attempt), int(j.started), NOW_TEXT, int(j.created) }
end

local waits, left = #order > 0 and anything_waits(), false
for _, id in ipairs(order) do
  local w = freed[id]
  again[id] = nil
  if waits and claims == '1' and not w.leaving and links[id] ~= '' then
    -- One for each slot that the batch freed; what finds no job is listed.
    while slots[id] > 0 and claim(w, links[id]) do slots[id] = slots[id] - 1 end
  end
  left = left or w.leaving
  settle_or_leave(w)
end
for id, w in pairs(again) do
  if w.home == HOME then
    local held = call('HGETALL', held_key(id))
    for i = 1, #held, 2 do
      local j = job_get(held[i])
      if j.state == 'running' and j.fence == held[i + 1] and not j.delivered then assignment(j, w) end
    end
  end
end
-- A worker that leaves may have given back what it held.
local more = (waits or left) and match() or 0
return done(reply, more)
