#!lua flags=allow-oom
-- Runs all commands that the other scripts need, so that a right that is missing does not show in the middle of one.
-- KEYS: one that nothing uses.
local key = KEYS[1]
local commands = {
  {'TIME'}, {'GET', key}, {'SET', key, '', 'PX', 1, 'XX'}, {'UNLINK', key},
  {'HMGET', key, 'x'}, {'HSET', key, 'x', ''}, {'HDEL', key, 'x'}, {'PTTL', key}, {'PEXPIRE', key, 1},
  {'XADD', key, 'NOMKSTREAM', '1-0', 'x', ''}, {'XTRIM', key, 'MAXLEN', '=', 1}, {'XDEL', key, '1-0'},
  {'XRANGE', key, '-', '+', 'COUNT', 1}, {'XREVRANGE', key, '+', '-', 'COUNT', 1},
}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  local failure = type(answer) == 'table' and answer.err or ''
  -- So Redis and so Valkey.
  if string.find(failure, 'user executing the script', 1, true) or string.find(failure, 'ACL failure', 1, true) then
    return redis.error_reply('NOPERM the right +' .. string.lower(command[1]) .. ' is missing')
  end
end
return 1
