-- What an operator did, on what, and who it was; '' when it was no operator.
local function act(who, name, subject, ...)
  if who ~= '' then event('admin.' .. name, subject, 'identity', who, ...) end
end
