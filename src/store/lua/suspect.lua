-- suspect: a worker missed a probe. At `limit` misses it gets no more jobs; its leases stay.
-- @args worker boot link limit reason
-- @returns {status, misses}: missed | suspect | stale
-- @use workers jobs match
-- Compare-and-set on (boot, home, link).
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.home ~= HOME or w.link ~= link then return done({ 'stale', 0 }, 0) end
local misses = call('HINCRBY', worker_key(worker), 'misses', 1)
if misses < tonumber(limit) then return done({ 'missed', misses }, 0) end
if w.state ~= 'suspect' then suspect(w, reason) end
return done({ 'suspect', misses }, 0)
