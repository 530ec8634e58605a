-- standing: how workers stand whose links the caller has, before it asks them: what needs no question, and what an answer could change.
-- @args -
-- @each worker boot link
-- @returns for each: moved (another boot, home or link stands there, or none) | idle (holds nothing) | holds | unsettled (suspect, missed,
--   blocked, or with a slot in quarantine: an answer says something)
-- @flags read-only
-- @use workers
local reply = {}
for worker, boot, link in items() do
  local v = call('HMGET', worker_key(worker), 'state', 'boot', 'home', 'link', 'blocked', 'misses')
  local standing = 'idle'
  if v[2] ~= boot or v[3] ~= HOME or v[4] ~= link then
    standing = 'moved'
  else
    for _, fence_ in ipairs(call('HVALS', held_key(worker))) do
      if standing == 'idle' then standing = 'holds' end
      if string.sub(fence_, 1, 1) == '!' then standing = 'unsettled' end
    end
    if v[1] == 'suspect' or v[5] == '1' or (v[6] or '0') ~= '0' then standing = 'unsettled' end
  end
  reply[#reply + 1] = standing
end
return reply
