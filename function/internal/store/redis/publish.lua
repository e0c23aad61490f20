-- Announces orders in place of those of a version. KEYS[1] prefix; ARGV version, orders, the version that must be there. Answers 1
-- or 0. The script of the version before writes the first two fields alone: by the third what it has written is known.
local prefix = KEYS[1]
local there = tonumber(redis.call('HGET', prefix .. 'orders', 'version') or 0)
if there >= tonumber(ARGV[1]) then return 0 end
if there ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', prefix .. 'orders', 'version', ARGV[1], 'orders', ARGV[2], 'kept', ARGV[2])
redis.call('HINCRBY', prefix .. 'epoch', 'news', 1)
return 1
