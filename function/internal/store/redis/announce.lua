-- Announces the versions that are greater than those that are there. KEYS[1] prefix; ARGV {name, version}…. Answers how many
-- that were.
local prefix = KEYS[1]
local greater = {}
for i = 1, #ARGV, 2 do
  local there = tonumber(redis.call('HGET', prefix .. 'versions', ARGV[i]) or 0)
  if tonumber(ARGV[i + 1]) > there then greater[#greater + 1] = i end
end
for _, i in ipairs(greater) do redis.call('HSET', prefix .. 'versions', ARGV[i], ARGV[i + 1]) end
if #greater > 0 then redis.call('HINCRBY', prefix .. 'epoch', 'news', 1) end
return #greater
