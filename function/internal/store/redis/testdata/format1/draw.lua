-- One message of an instance to the ledger: the same as Ledger.Draw in package governor, which says why.
-- KEYS[1] prefix, with the hash tag that keeps all keys on one shard
-- ARGV instance, seq, epoch, lease, holdings, {key, slots}…, groups, {needs, {key, kind, period, slack, cap, least, most}…}…, 'full' or ''
-- Answers {status, epoch, instances, news, 1 for read or 2 for lapsed, {refused, wait, learns}… or {-1, 0, amount…, left…}…}.
-- Everything is checked before anything is written, so that a write that is refused for want of memory leaves the ledger as
-- it was. Times are microseconds of Redis's clock.
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
local max, min, floor, format = math.max, math.min, math.floor, string.format
local function whole(n) return format('%.0f', n) end

local head = redis.call('HMGET', prefix .. 'epoch', 'epoch', 'opened', 'first', 'learn', 'news', 'read', 'format')
if not head[1] then return {CLOSED, 0, 0, 0, 0} end
if tonumber(head[7] or FORMAT) > FORMAT then return {NEWER, 0, 0, 0, 0} end
local opened, first, learn = tonumber(head[2]), head[3] == '1', tonumber(head[4])

local instance, seq, epoch, lease = text(), number(), text(), number()

-- Number 0 asks whether messages are taken: a ledger that can be read and not written takes none.
if seq == 0 then redis.call('SET', prefix .. 'probe', '', 'PX', 1000) end

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

for _ = 1, number() do
  local key = text()
  hold(key, number())
end

-- A need lies in ARGV from its key on: key, kind, period, slack, cap, least, most.
local KIND, PERIOD, SLACK, CAP, LEAST, MOST, NEED = 1, 2, 3, 4, 5, 6, 7
local groups = number()
local begin = at + 1

-- Of all rates in one go.
local arrivals, moved = {}, {} -- of rates that this message knows; of those that it changes, with slack + period
local keys, names = {}, {}
local i = begin
for _ = 1, groups do
  local n = tonumber(ARGV[i])
  i = i + 1
  for _ = 1, n do
    local key = ARGV[i]
    if ARGV[i + KIND] == TOKENS and not arrivals[key] then
      arrivals[key] = true
      names[#names + 1] = key
      keys[#keys + 1] = prefix .. key
    end
    i = i + NEED
  end
end
if #keys > 0 then
  local values = redis.call('MGET', unpack(keys))
  for n, key in ipairs(names) do arrivals[key] = tonumber(values[n] or '') end
end

local function arrival(key, most)
  local t = arrivals[key] or (first and 0 or opened + most)
  if t > now + most then -- the clock was set back
    t = now + most
    arrivals[key], moved[key] = t, most
  end
  return t
end

local function available(i)
  if ARGV[i + KIND] ~= TOKENS then
    if now < learn then return 0, learn - now end
    return max(0, min(tonumber(ARGV[i + MOST]), tonumber(ARGV[i + CAP]) - held(ARGV[i]))), 50000
  end
  local period, slack = tonumber(ARGV[i + PERIOD]), tonumber(ARGV[i + SLACK])
  local ahead = max(arrival(ARGV[i], slack + period) - now, 0)
  local amount, room = 0, slack - ahead
  if room >= 0 then amount = min(tonumber(ARGV[i + MOST]), floor(room / period) + 1) end
  return amount, ahead + (ARGV[i + LEAST] - 1) * period - slack
end

local read = tonumber(head[6] or 0)
local reads = now - read >= READ_EVERY or now < read
local answer = {DONE, tonumber(head[1]), 0, tonumber(head[5] or 0), reads and 1 or 0}
i = begin
for _ = 1, groups do
  local n = tonumber(ARGV[i])
  i = i + 1
  local reply = {-1, 0}
  for k = 0, n - 1 do
    local need = i + k * NEED
    local amount, wait = available(need)
    if amount < tonumber(ARGV[need + LEAST]) then
      reply = {k, wait, ARGV[need + KIND] ~= TOKENS and now < learn and 1 or 0}
      break
    end
    reply[3 + k] = amount
  end
  if reply[1] < 0 then
    for k = 0, n - 1 do
      local need, amount = i + k * NEED, reply[3 + k]
      local key, left = ARGV[need], 0
      if ARGV[need + KIND] == TOKENS then
        local period = tonumber(ARGV[need + PERIOD])
        local most = ARGV[need + SLACK] + period
        arrivals[key] = max(arrival(key, most), now) + amount * period
        moved[key] = most
      else
        left = ARGV[need + CAP] - held(key) - amount
        hold(key, (holders(key)[instance] or 0) + amount)
      end
      reply[3 + n + k] = left
    end
  end
  answer[#answer + 1] = reply
  i = i + n * NEED
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
  local t = arrivals[key]
  if string.sub(key, 1, 2) == FORGETTABLE then -- it ends long after it says no more than none would
    redis.call('SET', prefix .. key, format('%.0f', t), 'PX', format('%.0f', (max(t, opened + most, now) - now + FORGET) / 1000))
  else
    redis.call('SET', prefix .. key, format('%.0f', t))
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
