-- bury: a worker is dead. What it held goes to others.
-- @args worker boot link evidence reason who
--   boot, link: as its judge saw them, '' for whatever they are (an operator evicts); evidence: ms since the last proof against it;
--   a sign of life younger than that saves it; who: the operator, '' for none
-- @returns buried | stale | unknown
-- @use acts workers jobs bury match
-- Compare-and-set on (boot, link, time of evidence). Idempotent.
local w = worker_get(worker)
if not w.state then return done('unknown', 0) end
if w.state == 'dead' then return done('buried', 0) end
if boot ~= '' then
  local seen = tonumber(call('ZSCORE', P .. 'workers', worker) or 0)
  if w.boot ~= boot or w.link ~= link or seen > NOW - tonumber(evidence) then return done('stale', 0) end
  -- After an outage nobody dies until homes and workers had time to speak.
  if NOW < tonumber(call('HGET', META, 'grace') or 0) then return done('stale', 0) end
end
bury_worker(w, reason)
act(who, 'EvictWorker', worker, 'reason', reason)
local more = match()
return done('buried', more)
