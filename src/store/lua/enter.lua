-- enter: the pool exists from now on. Called before the first thing of a pool is written, and now and then after.
-- @args -
-- @returns 1 when it was not there
-- @flags deny-oom
-- Idempotent. Only the scripts that follow it make anything of a pool that does not exist; the others find nothing, and write nothing.
return call('HSETNX', META, 'created', NOW_TEXT)
