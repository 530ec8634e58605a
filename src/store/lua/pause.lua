-- pause: no job of the pool is given out, or they are again.
-- @args on who
--   who: the operator, '' for none
-- @returns '1' when that changed something, 'unknown' when there is no such pool
-- @use acts workers jobs match
if not ENTERED then return done('unknown', 0) end
local was = call('HGET', META, 'paused') == '1'
if on == '1' then call('HSET', META, 'paused', '1') else call('HDEL', META, 'paused') end
if was ~= (on == '1') then
  event(on == '1' and 'pool.paused' or 'pool.resumed', '')
  act(who, on == '1' and 'PausePool' or 'ResumePool', '')
end
local more = match()
return done(was ~= (on == '1') and '1' or '0', more)
