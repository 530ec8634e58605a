-- deregister: a worker leaves. It gets no more jobs, and is dead once it holds none, or when its drain timeout passes.
-- @args worker boot timeout by
--   boot: '' for whatever it is; timeout: ms, '' for none; by: whose word this is (see `foreign`)
-- @returns {status, held}: ok | unknown | superseded | foreign (another identity's)
-- @use workers owners jobs bury match
local w = worker_get(worker)
if not w.state or w.state == 'dead' then return done({ 'unknown', 0 }, 0) end
if foreign(w, by) then return done({ 'foreign', 0 }, 0) end
if boot ~= '' and w.boot ~= boot then return done({ 'superseded', 0 }, 0) end
local held = call('HLEN', held_key(worker))
if held == 0 then
  bury_worker(w, 'deregistered')
else
  local missed = w.state == 'suspect'
  w.leaving = true
  call('HSET', worker_key(worker), 'leaving', '1')
  bench(w, 'draining', 'deregistered')
  -- Without one, the deadline of a stream that broke before is void too: the worker says this over the next.
  if timeout ~= '' then
    call('ZADD', DEADLINES, NOW + tonumber(timeout), '@' .. worker)
  elseif not missed then
    call('ZREM', DEADLINES, '@' .. worker)
  end
end
local more = match()
return done({ 'ok', held }, more)
