-- Nothing is left of the pool, its name on the list of pools aside. What is named by workers and jobs has gone with them, or has an end of its own.
local function drop_pool()
  call('UNLINK', META, ADDRESSES, P .. 'workers', P .. 'dead', FREE, waiting_key(0), waiting_key(1), waiting_key(2), waiting_key(3), LEASES, LATER,
    DEADLINES, P .. 'buried', P .. 'finished', P .. 'homes', P .. 'descriptors', P .. 'events')
  -- Nobody writes into it any more.
  ENTERED, LATEST = false, 0
end

-- No worker, no job, and nothing kept of either; free is of workers, deadlines are of both.
local function is_empty()
  return call('EXISTS', P .. 'workers', P .. 'dead', waiting_key(0), waiting_key(1), waiting_key(2), waiting_key(3), LEASES, LATER, P .. 'buried',
    P .. 'finished') == 0
end

-- Takes off what stands at the head and is gone: its retention has passed. Looks at one while that one is there, at `most` otherwise.
local function drop_expired(key, most)
  local n, page = 0, 1
  while n < most do
    local ids, before = call('ZRANGE', key, n, math.min(n + page, most) - 1), n
    for _, id in ipairs(ids) do
      if call('EXISTS', job_key(id)) == 1 then break end
      n = n + 1
    end
    if n < before + page then break end
    page = 50
  end
  if n > 0 then call('ZREMRANGEBYRANK', key, 0, n - 1) end
  return n
end

local function forget_workers(ids)
  for _, id in ipairs(ids) do
    call('ZREM', P .. 'dead', id)
    local key = worker_key(id)
    if call('HGET', key, 'listed') == '1' then call('LREM', FREE, 0, id) end
    call('UNLINK', key)
  end
end

-- A dead letter is no more. Its ID may be that of a new job by now.
local function forget_buried(ids)
  for _, id in ipairs(ids) do
    call('ZREM', P .. 'buried', id)
    local key = job_key(id)
    if call('HGET', key, 'state') == 'failed' then call('UNLINK', key, key .. ':payload', key .. ':metadata', key .. ':error') end
  end
end
