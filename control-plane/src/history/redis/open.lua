-- Opens a channel's stream: refuses older owners, and begins a new epoch where an offset could be used twice.
-- KEYS: what is known of the stream, its publications.
-- ARGV: the caller's fence, the epoch and the offset that it knows of, an epoch that nobody has used yet.
local meta, publications = KEYS[1], KEYS[2]
local epoch, top, fence, version, version_epoch =
  unpack(redis.call('HMGET', meta, 'epoch', 'top', 'fence', 'version', 'version_epoch'))
-- Fences are digits of the same length, so they compare as texts.
if fence and ARGV[1] < fence then
  return 0
end
top = tonumber(top or '0')
local is_new = not epoch
if is_new then
  -- Followers may have been told of an epoch in which nothing was published yet: it goes on.
  if ARGV[2] ~= '' and ARGV[3] == '0' then epoch = ARGV[2] else epoch = ARGV[4] end
elseif epoch == ARGV[2] and tonumber(ARGV[3]) > top then
  -- Somebody has seen more of this stream than there is: its tail was lost.
  epoch, top, version, version_epoch = ARGV[4], 0, false, false
  redis.call('HDEL', meta, 'version', 'version_epoch')
  is_new = true
end
if is_new then
  redis.call('UNLINK', publications)
end
