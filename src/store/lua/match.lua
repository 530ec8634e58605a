-- match: gives waiting jobs to free workers, for callers who were told that there is more.
-- @args -
-- @returns 0
-- @use workers jobs match
local more = match()
return done(0, more)
