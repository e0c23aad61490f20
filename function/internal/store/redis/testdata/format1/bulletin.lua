-- What was announced last. KEYS[1] prefix. Answers {epoch, news, version, orders, {name, version, …},
-- {scope, microseconds left}…}.
local prefix = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local head = redis.call('HMGET', prefix .. 'epoch', 'epoch', 'news')
local orders = redis.call('HMGET', prefix .. 'orders', 'version', 'orders')
local answer = {tonumber(head[1] or 0), tonumber(head[2] or 0), tonumber(orders[1] or 0), orders[2] or '', {}}
local versions = redis.call('HGETALL', prefix .. 'versions')
for i = 1, #versions, 2 do
  table.insert(answer[5], versions[i])
  table.insert(answer[5], tonumber(versions[i + 1]))
end
local trips = redis.call('HGETALL', prefix .. 'trips')
for i = 1, #trips, 2 do answer[#answer + 1] = {trips[i], tonumber(trips[i + 1]) - now} end
return answer
