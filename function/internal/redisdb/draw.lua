-- One message of an instance to the ledger: the same as Ledger.Draw in package governor, which says why.
-- KEYS[1] prefix, with the hash tag that keeps all keys on one shard
-- ARGV instance, seq, epoch, lease, holdings, {key, slots}…, groups, {needs, {key, kind, period, slack, cap, least, most}…}…, 'full' or ''
-- Answers {status, epoch, instances, news, 1 for read or 2 for lapsed, {refused, wait, learns}… or {-1, 0, amount…, left…}…}.
-- Everything is checked before anything is written,
-- so that a write that is refused for want of memory leaves the ledger as it was. Times are microseconds of Redis's clock.
local prefix = KEYS[1]
local DONE, CLOSED, STALE, NEWER = 0, 1, 2, 3
local FORMAT = 1
local TOKENS, FORGETTABLE = '0', 't:'
local FORGET = 600000000
local READ_EVERY = 1000000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local at = 0
local function text() at = at + 1; return ARGV[at] end
local function number() return tonumber(text()) end
local function whole(n) return string.format('%.0f', n) end

local head = redis.call('HMGET', prefix .. 'epoch', 'epoch', 'opened', 'first', 'learn', 'news', 'read', 'format')
if not head[1] then return {CLOSED, 0, 0, 0, 0} end
if tonumber(head[7] or FORMAT) > FORMAT then return {NEWER, 0, 0, 0, 0} end
local opened, first, learn = tonumber(head[2]), head[3] == '1', tonumber(head[4])

local instance, seq, epoch, lease = text(), number(), text(), number()

local presence = {} -- instance: {ends, seq}
local function present(name)
  local p = presence[name]
  if not p then
    local raw = redis.call('HGET', prefix .. 'instances', name)
    local ends, last = string.match(raw or '0 0', '^(%d+) (%d+)$')
    p = {tonumber(ends), tonumber(last)}
    presence[name] = p
  end
  return p
end

if epoch ~= head[1] or seq <= present(instance)[2] then return {STALE, tonumber(head[1]), 0, 0, 0} end
if present(instance)[2] > 0 and present(instance)[1] <= now and ARGV[#ARGV] ~= 'full' then
  return {STALE, tonumber(head[1]), 0, 0, 2}
end
presence[instance] = {now + lease, seq}

local slots = {}   -- key: {instance: slots}
local changed = {} -- key: {instance: true}
local function holders(key)
  local h = slots[key]
  if not h then
    h = {}
    local raw = redis.call('HGETALL', prefix .. key)
    for i = 1, #raw, 2 do h[raw[i]] = tonumber(raw[i + 1]) end
    slots[key] = h
    changed[key] = {}
  end
  return h
end
local function hold(key, n)
  holders(key)[instance] = n > 0 and n or nil
  changed[key][instance] = true
end
local function held(key)
  local sum = 0
  local h = holders(key)
  local gone = {}
  for name, n in pairs(h) do
    if present(name)[1] > now then sum = sum + n else gone[#gone + 1] = name end
  end
  for _, name in ipairs(gone) do h[name] = nil; changed[key][name] = true end
  return sum
end

local arrivals, moved = {}, {} -- of rates that this message knows; of those that it changes
local function arrival(need)
  if not arrivals[need.key] then
    arrivals[need.key] = tonumber(redis.call('GET', prefix .. need.key) or '')
  end
  local at = arrivals[need.key] or (first and 0 or opened + need.slack + need.period)
  local most = now + need.slack + need.period
  if at > most then -- the clock was set back
    at = most
    arrivals[need.key], moved[need.key] = at, need.slack + need.period
  end
  return at
end

for _ = 1, number() do
  local key = text()
  hold(key, number())
end

local function available(need)
  if need.kind ~= TOKENS then
    if now < learn then return 0, learn - now end
    return math.max(0, math.min(need.most, need.cap - held(need.key))), 50000
  end
  local ahead = math.max(arrival(need) - now, 0)
  local amount, room = 0, need.slack - ahead
  if room >= 0 then amount = math.min(need.most, math.floor(room / need.period) + 1) end
  return amount, ahead + (need.least - 1) * need.period - need.slack
end

local read = tonumber(head[6] or 0)
local reads = now - read >= READ_EVERY or now < read
local answer = {DONE, tonumber(head[1]), 0, tonumber(head[5] or 0), reads and 1 or 0}
local groups = number()
for _ = 1, groups do
  local needs, amounts, refused, wait = {}, {}, -1, 0
  for i = 1, number() do
    needs[i] = {key = text(), kind = text(), period = number(), slack = number(), cap = number(), least = number(), most = number()}
  end
  for i, need in ipairs(needs) do
    local amount, w = available(need)
    if amount < need.least then
      refused, wait = i - 1, w
      break
    end
    amounts[i] = amount
  end
  local reply = {refused, wait}
  if refused >= 0 then
    reply[3] = needs[refused + 1].kind ~= TOKENS and now < learn and 1 or 0
  else
    local left = {}
    for i, need in ipairs(needs) do
      if need.kind == TOKENS then
        arrivals[need.key] = math.max(arrival(need), now) + amounts[i] * need.period
        moved[need.key] = need.slack + need.period
        left[i] = 0
      else
        left[i] = need.cap - held(need.key) - amounts[i]
        hold(need.key, (holders(need.key)[instance] or 0) + amounts[i])
      end
    end
    for _, n in ipairs(amounts) do reply[#reply + 1] = n end
    for _, n in ipairs(left) do reply[#reply + 1] = n end
  end
  answer[#answer + 1] = reply
end

local forgotten = {}
if groups == 0 or seq % 16 == 1 then
  local raw = redis.call('HGETALL', prefix .. 'instances')
  local count = 1
  for i = 1, #raw, 2 do
    local ends = tonumber(string.match(raw[i + 1], '^(%d+)'))
    if raw[i] ~= instance then
      if ends > now then count = count + 1
      elseif ends + FORGET < now then forgotten[#forgotten + 1] = raw[i] end
    end
  end
  answer[3] = count
end

if reads then redis.call('HSET', prefix .. 'epoch', 'read', whole(now)) end
redis.call('HSET', prefix .. 'instances', instance, whole(now + lease) .. ' ' .. whole(seq))
for key, most in pairs(moved) do
  if string.sub(key, 1, 2) == FORGETTABLE then -- it ends long after it says no more than none would
    local left = math.max(arrivals[key], opened + most) - now
    redis.call('SET', prefix .. key, whole(arrivals[key]), 'PX', whole(math.max(left, 0) / 1000 + FORGET / 1000))
  else
    redis.call('SET', prefix .. key, whole(arrivals[key]))
  end
end
for key, names in pairs(changed) do
  for name in pairs(names) do
    local n = slots[key][name]
    if n then redis.call('HSET', prefix .. key, name, whole(n)) else redis.call('HDEL', prefix .. key, name) end
  end
end
for _, name in ipairs(forgotten) do redis.call('HDEL', prefix .. 'instances', name) end
return answer
