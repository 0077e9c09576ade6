-- Reads a part of a stream, without holes: what is too old is missing at the old end.
-- KEYS: what is known of the stream, its publications.
-- ARGV: after or before, the offset, the offset behind which to stay, publications at most, bytes at most, for how
-- long publications are kept in milliseconds.
local epoch, top = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'top'))
if not epoch then
  return 0
end
local forward = ARGV[1] == 'after'
local from, down_to = '(' .. ARGV[2] .. '-0', '(' .. ARGV[3] .. '-0'
local left, room = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = now - tonumber(ARGV[6])
local answer = {epoch, tonumber(top)}
local seen = false

while left > 0 do
  local count = math.min(left, 64)
  local entries
  if forward then
    entries = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', count)
  else
    entries = redis.call('XREVRANGE', KEYS[2], from, down_to, 'COUNT', count)
  end
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    local publication, time, expires = fields[2], fields[4], fields[6]
    local is_old = tonumber(time) <= oldest
    if is_old and not forward then return answer end
    if seen or not is_old then
      room = room - math.max(tonumber(fields[8]), 1)
      if seen and room < 0 then return answer end
      seen = true
      -- Its own time is over: it has its place, but nobody gets it any more.
      if expires ~= '0' and tonumber(expires) <= now then publication = 0 end
      local size = #answer
      answer[size + 1], answer[size + 2], answer[size + 3], answer[size + 4] = entry[1], time, expires, publication
      left = left - 1
    end
  end
  if #entries < count then break end
  from = '(' .. entries[#entries][1]
end
return answer
