-- register: a worker enters the roll, or enters it again, with the caller as its home.
-- The caller holds the worker's registration lock, has checked its address and has just reached it; safety rests on this script alone.
-- @args id boot derived address contract region slots labels kinds version by
--   derived: '1' when the boot was made from the address (such boots come back legitimately, so none of them is ever superseded)
--   labels, kinds: JSON, '' for none; by: whose word this is (see `foreign`), and whose the worker is from now on
-- @returns {status, link, state, freed, leases}: ok | superseded | family <family> | foreign | taken | attached; freed: how many leases of an earlier
--   boot were revoked; leases: as of adopt, of a known boot that comes from an owner that is gone; attached: an attached worker of that id lives
--   foreign: the worker is another identity's; taken: at its address is one of another identity, which is not missed
-- @use workers owners jobs bury match moves
-- Idempotent by (worker, boot): the same boot again changes fields only; it is listed once. Its leases
-- are untouched; if its owner was another replica they move (`take_over`).
if not ENTERED then return redis.error_reply('NOPOOL the pool does not exist: enter it first') end
local w = worker_get(id)
local key = worker_key(id)
if foreign(w, by) then return done({ 'foreign', '0', '', 0, {} }, 0) end
if lives_otherwise(w, contract, boot) then return done({ 'attached', w.link, w.state, 0, {} }, 0) end

local family = contract == 'ATTACHED' and 'RUNNER' or contract
local settled = call('HGET', META, 'family')
if not settled and family == 'LEGACY' and call('HGET', META, 'methods') then settled = 'METHOD' end
if settled and settled ~= family then
  local others = call('ZCARD', P .. 'workers') - (call('ZSCORE', P .. 'workers', id) and 1 or 0)
  if others > 0 or backlog() > 0 or call('ZCARD', LEASES) > 0 then return done({ 'family ' .. settled, '0', '', 0, {} }, 0) end
end

if w.state and w.boot ~= boot and derived ~= '1' and call('HGET', key, 'previous') == boot then
  return done({ 'superseded', w.link, w.state, 0, {} }, 0)
end

local at = call('HGET', ADDRESSES, address)
local other = at and at ~= id and worker_get(at)
if other and other.state ~= 'suspect' and foreign(other, by) then return done({ 'taken', '0', '', 0, {} }, 0) end

local known = w.state and w.state ~= 'dead'
local freed = 0
if known and w.boot ~= boot then freed = revoke_all(w, 'worker_lost', 'the worker ' .. id .. ' started anew') end

if other then bury_worker(other, 'superseded') end
if w.address and w.address ~= address and call('HGET', ADDRESSES, w.address) == id then call('HDEL', ADDRESSES, w.address) end
call('HSET', ADDRESSES, address, id)

local moved = known and w.boot == boot and w.home ~= HOME
local carried = moved and home_alive(w.home)
local link = tonumber(w.link or 0)
if not known or w.boot ~= boot or w.home ~= HOME then link = link + 1 end
if w.state and w.boot ~= boot then call('HSET', key, 'previous', w.boot) end
w.slots = tonumber(slots)
may_exceed(w)
w.link, w.boot, w.home, w.contract, w.address = int(link), boot, HOME, contract, address
w.blocked, w.leaving = false, false

own(w, by)
call('HSET', META, 'family', family)
call('HSET', key, 'address', address, 'contract', contract, 'slots', slots, 'boot', boot, 'home', HOME, 'link', w.link)
-- What most workers have none of is not written: it would be a tenth of what one costs.
call('HDEL', key, 'leaving', 'reason', 'suspected', 'misses', 'blocked')
if not known then call('HSET', key, 'joined', NOW_TEXT) end
if region ~= '' then call('HSET', key, 'region', region) else call('HDEL', key, 'region') end
if version ~= '' then call('HSET', key, 'version', version) else call('HDEL', key, 'version') end
-- What can be long has its own key: one value over 64 bytes would make Redis store the whole hash threefold.
if labels ~= '' then call('SET', key .. ':labels', labels) else call('DEL', key .. ':labels') end
if kinds ~= '' then call('SET', key .. ':kinds', kinds) else call('DEL', key .. ':kinds') end
call('ZADD', P .. 'workers', NOW, id)
call('ZREM', P .. 'dead', id)
call('ZREM', DEADLINES, '@' .. id)
call('ZADD', P .. 'homes', NOW, HOME)
if not known then event('worker.registered', id, 'address', address, 'contract', contract) end

local leases = moved and take_over(w, carried) or {}
w.state = w.drained and 'draining' or 'busy'
write_state(w)
settle(w)
local more = match()
return done({ 'ok', w.link, w.state, freed, carried and {} or leases }, more)
