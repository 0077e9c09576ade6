-- Answers the end of the stream, which has an epoch from now on.
redis.call('HSET', meta, 'epoch', epoch, 'top', string.format('%.0f', top), 'fence', ARGV[1])
if top == 0 then
  -- Nothing was published: what is known of the stream need not be kept for long, but never shorter than it would be.
  if redis.call('PTTL', meta) < tonumber(ARGV[5]) then
    redis.call('PEXPIRE', meta, ARGV[5])
  end
end
if ARGV[6] == 'remove' then
  redis.call('UNLINK', publications)
end
return {epoch, top}
