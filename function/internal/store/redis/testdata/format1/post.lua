-- Announces orders unless as late a version is there. KEYS[1] prefix; ARGV version, orders, and if it must be the one that
-- is there, the version before or else -1. Answers 1 or 0.
local prefix = KEYS[1]
local there = tonumber(redis.call('HGET', prefix .. 'orders', 'version') or 0)
if there >= tonumber(ARGV[1]) then return 0 end
if ARGV[3] ~= '-1' and there ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', prefix .. 'orders', 'version', ARGV[1], 'orders', ARGV[2])
redis.call('HINCRBY', prefix .. 'epoch', 'news', 1)
return 1
