-- drain: a worker gets no more jobs, or gets them again. What it holds goes on.
-- @args worker on who
--   on: '1' drain, '0' undrain; who: the operator, '' for none
-- @returns its state after, '' when unknown
-- @use acts workers jobs match
-- Idempotent. `drained` outlives registrations.
local w = worker_get(worker)
if not w.state or w.state == 'dead' then return done(w.state or '', 0) end
local was = w.drained
w.drained = on == '1'
if w.drained then call('HSET', worker_key(worker), 'drained', '1') else call('HDEL', worker_key(worker), 'drained') end
if w.drained and active(w) then
  bench(w, 'draining', 'drained')
elseif not w.drained and w.state == 'draining' and not w.leaving then
  w.state = 'busy'
  call('HDEL', worker_key(worker), 'reason')
  settle(w)
end
if was ~= w.drained then
  event(w.drained and 'worker.drained' or 'worker.undrained', worker)
  act(who, w.drained and 'DrainWorker' or 'UndrainWorker', worker)
end
local more = match()
return done(w.state, more)
