-- forget_home: the whole roll was seen since these homes died.
-- @args -
-- @each home
-- @returns how many were forgotten
-- Compare-and-set: a home that beats again stays.
local n = 0
for home in items() do
  local beat = call('ZSCORE', P .. 'homes', home)
  if beat and NOW - tonumber(beat) >= HOME_TTL_MS then n = n + call('ZREM', P .. 'homes', home) end
end
return n
