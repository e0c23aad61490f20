-- Announces that a breaker is open, or closed. KEYS[1] prefix; ARGV scope, microseconds for which it is open.
local prefix = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
if tonumber(ARGV[2]) > 0 then
  redis.call('HSET', prefix .. 'trips', ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])))
else
  redis.call('HDEL', prefix .. 'trips', ARGV[1])
end
redis.call('HINCRBY', prefix .. 'epoch', 'news', 1)
return 1
