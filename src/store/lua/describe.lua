-- describe: what the messages of the pool's methods look like, for people. The last writer wins.
-- @args set who
--   set: a FileDescriptorSet; who: the operator
-- @returns '1', 'unknown' when there is no such pool
-- @flags deny-oom
-- @use acts
if not ENTERED then return 'unknown' end
call('SET', P .. 'descriptors', set)
act(who, 'PutPoolDescriptors', '')
return '1'
