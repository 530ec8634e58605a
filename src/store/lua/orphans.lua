-- orphans: looks through the roll, a page a call, for workers whose home is gone, or has lost sight of them; they are suspect from now on.
-- @args cursor page
-- @returns {cursor, orphans}: cursor '0' when the whole roll was seen; orphans: {worker, boot, link, home, age ms} each, of
--   those that can be dialed; an attached one has REATTACH_GRACE_MS to attach again
-- @use workers jobs match
-- A home asks a silent worker long before SILENT_MS. One that never learned that it is the home (its reply was lost) asks nobody.
-- Asked for after tick named a dead home, and now and then; when the whole roll was seen the dead homes are forgotten by `forget_home`.
local grace = tonumber(call('HGET', META, 'grace') or 0)
local page_ = call('ZSCAN', P .. 'workers', cursor, 'COUNT', page)
local found = {}
for i = 1, #page_[2], 2 do
  local w = worker_get(page_[2][i])
  local gone = not home_alive(w.home)
  if w.state and w.state ~= 'dead' and (gone or (NOW >= grace and NOW - tonumber(page_[2][i + 1]) > SILENT_MS)) then
    if w.state ~= 'suspect' then suspect(w, gone and 'home_gone' or 'out_of_sight') end
    -- Nobody can dial it: it attaches again by itself, or is dead.
    if w.contract == 'ATTACHED' then
      call('ZADD', DEADLINES, 'NX', NOW + REATTACH_GRACE_MS, '@' .. w.id)
    else
      found[#found + 1] = { w.id, w.boot, w.link, w.home, int(NOW - tonumber(page_[2][i + 1])) }
    end
  end
end
return done({ page_[1], found }, 0)
