-- Is it somebody else's? by: an identity's name; '' for a caller who has none; '*' for one who is not asked (an admin, or a replica that asks
-- nobody for credentials). Nobody's is anybody's, and so is an id whose worker is dead.
local function foreign(w, by)
  if by == '*' or not w.state or w.state == 'dead' then return false end
  local owner = call('HGET', worker_key(w.id), 'owner')
  return owner and owner ~= by
end

-- Whose it is from now on. Called with its state as it was before it came.
local function own(w, by)
  if by ~= '*' and by ~= '' then
    call('HSET', worker_key(w.id), 'owner', by)
  elseif w.state == 'dead' then
    call('HDEL', worker_key(w.id), 'owner')
  end
end
