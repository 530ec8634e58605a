-- describe: what the messages of the pool's methods look like, for people. The last writer wins.
-- @args set who
--   set: a FileDescriptorSet; who: the operator
-- @returns '1'
-- @flags deny-oom
-- @use acts
call('SET', P .. 'descriptors', set)
act(who, 'PutPoolDescriptors', '')
return '1'
