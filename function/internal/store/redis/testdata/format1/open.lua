-- Opens an epoch unless one is open: Ledger.Open in package governor. KEYS[1] prefix; ARGV epoch, first (1 or 0), lease.
local prefix = KEYS[1]
local epoch = redis.call('HGET', prefix .. 'epoch', 'epoch')
if epoch then return tonumber(epoch) end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local learn = 0
if ARGV[2] == '0' then learn = now + tonumber(ARGV[3]) end
redis.call('HSET', prefix .. 'epoch', 'format', 1, 'epoch', ARGV[1], 'opened', string.format('%.0f', now), 'first', ARGV[2], 'learn', string.format('%.0f', learn))
return tonumber(ARGV[1])
