-- Gives publications their places.
-- KEYS, further: one for each idempotency key. What it holds is the answer to who comes again with it.
-- ARGV, further: how many publications are kept, and for how long they are, idempotency keys, and what is known of the
-- stream, in milliseconds; then for each publication three: it, its weight in bytes, its options.
local size, keep, keys_keep, meta_keep = tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local now_text = string.format('%.0f', now)
local before = top
local answer = {epoch, top, now} -- the first two are known at the end

-- Adds a publication. If the list has its place already, what is known of the stream is older than its publications:
-- it is another stream from here on.
local function add(...)
  local added = redis.pcall('XADD', publications, string.format('%.0f-0', top), ...)
  if type(added) == 'table' and added.err then
    if top > before + 1 or not string.find(added.err, 'equal or smaller', 1, true) then error(added.err, 0) end
    redis.call('UNLINK', publications)
    epoch, top, before = ARGV[4], 1, 0
    redis.call('XADD', publications, '1-0', ...)
  end
end

-- What became of one publication: its offset; 0 if its version is superseded; the first one's position for a repeat.
local function take(publication, weight, options)
  local expires, key = '0', nil
  if options ~= '' then
    local ttl, new_version, at, new_epoch = string.match(options, '^(%d*),(%d*),(%d*),(.*)$')
    if at ~= '' then
      key = KEYS[2 + tonumber(at)]
      local first = redis.call('GET', key)
      if first then return first end
    end
    if new_version ~= '' then
      -- Versions are digits of the same length, so they compare as texts.
      if version and new_epoch == version_epoch and new_version <= version then return 0 end
      version, version_epoch = new_version, new_epoch
    end
    if ttl ~= '' then expires = string.format('%.0f', now + tonumber(ttl)) end
  end
  top = top + 1
  add('p', publication, 't', now_text, 'x', expires, 'w', weight)
  if key then redis.call('SET', key, string.format('%s %.0f', epoch, top), 'PX', keys_keep) end
  return top
end

for at = 9, #ARGV, 3 do
  answer[#answer + 1] = take(ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
answer[1], answer[2] = epoch, top

redis.call('HSET', meta, 'epoch', epoch, 'top', string.format('%.0f', top), 'fence', ARGV[1])
if version then
  redis.call('HSET', meta, 'version', version, 'version_epoch', version_epoch)
end
redis.call('PEXPIRE', meta, meta_keep)
if top > before then
  redis.call('XTRIM', publications, 'MAXLEN', '=', size)
  -- The oldest ones whose time is over. Each is looked at once in its life, and the first that stays.
  local oldest = now - tonumber(keep)
  local first = redis.call('XRANGE', publications, '-', '+', 'COUNT', 1)[1]
  while first and tonumber(first[2][4]) <= oldest do
    redis.call('XDEL', publications, first[1])
    first = redis.call('XRANGE', publications, '-', '+', 'COUNT', 1)[1]
  end
  redis.call('PEXPIRE', publications, keep)
end
return answer
