-- detach: the stream of an attached worker is gone. It has so long to attach again, here or elsewhere; its leases stay.
-- @args worker boot link reason grace
--   grace: ms that it has; said again, the shorter time counts
-- @returns ok | stale
-- @use workers jobs bury match
-- Compare-and-set on (boot, home, link): a stream that was replaced ends without any meaning.
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done('stale', 0) end
if w.leaving and call('HLEN', held_key(worker)) == 0 then
  bury_worker(w, 'deregistered')
else
  if w.state ~= 'suspect' then suspect(w, reason) end
  call('ZADD', DEADLINES, 'LT', NOW + tonumber(grace), '@' .. worker)
end
local more = match()
return done('ok', more)
