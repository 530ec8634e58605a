-- resize: a worker takes so many jobs at once from now on. What it holds goes on.
-- @args worker boot link slots
-- @returns ok | stale
-- @use workers jobs bury match
-- Compare-and-set on (boot, home, link).
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done('stale', 0) end
w.slots = tonumber(slots)
may_exceed(w)
call('HSET', worker_key(worker), 'slots', slots)
settle(w)
local more = match()
return done('ok', more)
