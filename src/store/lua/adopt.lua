-- adopt: the caller becomes the home of a worker that it has reached.
-- @args worker boot link
--   boot, link: as the caller saw them when it began
-- @returns {status, link, leases}: ok | stale; leases: {job, fence, delivered, quarantined} of all that it holds
-- @use workers jobs match moves
-- Compare-and-set on (boot, link). Leases move (`take_over`): assignments in the reply are sent again with the same fence.
local w = worker_get(worker)
if not w.state or w.state == 'dead' or w.boot ~= boot or w.link ~= link then return done({ 'stale', w.link or '0', {} }, 0) end
w.home = HOME
w.link = int(tonumber(w.link) + 1)
call('HSET', worker_key(worker), 'home', HOME, 'link', w.link)
call('HDEL', worker_key(worker), 'misses')
call('ZADD', P .. 'workers', 'GT', NOW, worker)
call('ZADD', P .. 'homes', NOW, HOME)
event('worker.adopted', worker, 'home', HOME)
local leases = take_over(w, false)
if w.state == 'suspect' then restore(w) else settle(w) end
local more = match()
return done({ 'ok', w.link, leases }, more)
