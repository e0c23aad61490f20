-- One request of an instance to the counters: the same as ReferenceCounters.Lease in package governor, which says why.
-- KEYS[1] prefix, with the hash tag that keeps all keys on one shard
-- ARGV instance, seq, epoch, lease, holdings, {key, slots}…, groups, {needs, {key, kind, period, hold, cap, least, most, tenant}…}…, 'full' or ''
-- Answers {status, epoch, instances, news, 1 for read or 2 for lapsed, {refused, wait, learns, turn}… or {-1, several, amount…, left…}…}.
-- Everything is checked before anything is written, so that a write that is refused for want of memory leaves the ledger as
-- it was. Times are microseconds of Redis's clock.
local prefix = KEYS[1]
local DONE, CLOSED, STALE, NEWER = 0, 1, 2, 3
local FORMAT = 1
local TOKENS, FORGETTABLE = '0', 't:'
local FORGET = 600000000
local READ_EVERY = 1000000
local MAX_HOLD = 300000
local TURNS, TURN_PATIENCE, TURN_SEEN, TURN_GRACE, TURN_RETURN, FEW_TURNS, MOST_ASKING = 'f:', 1000000, 2000000, 250000, 1500000, 8, 64

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local at = 0
local function text() at = at + 1; return ARGV[at] end
local function number() return tonumber(text()) end
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local format, find, sub = string.format, string.find, string.sub
local function whole(n) return format('%.0f', n) end

local head = redis.call('HMGET', prefix .. 'epoch', 'epoch', 'opened', 'first', 'learn', 'news', 'read', 'format', 'drawn')
if not head[1] then return {CLOSED, 0, 0, 0, 0} end
if tonumber(head[7] or FORMAT) > FORMAT then return {NEWER, 0, 0, 0, 0} end
local opened, first, learn = tonumber(head[2]), head[3] == '1', tonumber(head[4])

local instance, seq, epoch, lease = text(), number(), text(), number()

-- Number 0 asks whether messages are taken: a ledger that can be read and not written takes none.
if seq == 0 then redis.call('SET', prefix .. 'probe', '', 'PX', 1000) end

local unheard = false
local presence = {} -- instance: {ends, seq}
local function present(name)
  local p = presence[name]
  if not p then
    local raw = redis.call('HGET', prefix .. 'instances', name)
    unheard = unheard or not raw and name == ARGV[1]
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

-- Redis may have thrown away a part of the ledger. Who is present is never empty once a message was taken: without it nothing counts
-- as held, until all have been heard of.
local relearn = unheard and head[8] and redis.call('EXISTS', prefix .. 'instances') == 0
if relearn then learn = max(learn, now + lease) end

-- The epoch has the time when a key of slots was last seen with holders that write so, by whose names they are known: the version before
-- empties a key and leaves that time. Instances declare all that they hold twice a lease, so that a key that is missing less than a lease
-- later was thrown away: for a lease slots are only declared. That is noted in the key, under a name that no instance has, and as long
-- that name is present: to the version before it holds more than there is.
local LEARNS, SEES = '', '+'
local slots = {}   -- key: {instance: slots}
local changed = {} -- key: {instance: true}
local some = {}    -- key: whether it had holders that write when it was seen
local learns = {}  -- key: until when slots of it are only declared
local noted = 0    -- until when at most, of those that are found out now
local function holders(key)
  local h = slots[key]
  if not h then
    h = {}
    local raw = redis.call('HGETALL', prefix .. key)
    for i = 1, #raw, 2 do
      if raw[i] ~= LEARNS then h[raw[i]] = tonumber(raw[i + 1]); some[key] = some[key] or sub(raw[i], -1) == SEES end
      if raw[i] == LEARNS then learns[key] = tonumber(raw[i + 1]) end
    end
    slots[key] = h
    changed[key] = {}
    if #raw == 0 then
      local seen = tonumber(redis.call('HGET', prefix .. 'epoch', 'seen:' .. key) or '')
      if seen and now - seen < lease then learns[key] = now + lease; noted = now + lease end
    end
    if learns[key] then changed[key][LEARNS] = true end
  end
  return h
end
local function learning(key)
  holders(key)
  return max(learn, learns[key] or 0)
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

-- A need lies in ARGV from its key on: key, kind, period, hold, cap, least, most, tenant.
local KIND, PERIOD, HOLD, CAP, LEAST, MOST, TENANT, NEED = 1, 2, 3, 4, 5, 6, 7, 8
local groups = number()
local begin = at + 1

-- Of all rates in one go, as rate.go says: the arrival, and behind a point where they are kept, ends, of 16 digits, and used. To
-- the version before, which does not know them, that is a fraction of a microsecond.
local arrivals, ends, used = {}, {}, {} -- of rates that this message knows
local moved = {}                        -- those that it changes
local fresh = {}                        -- rates that there were none of
local UNKNOWN = 2 ^ 53                  -- an arrival later than any: the rate counts as used up
local keys, names = {}, {}
local shared = {} -- keys that tenants share
local queues = {} -- key: its turns, each {tenant, seen, ends, units}, as turns.go says; false for none
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
    if ARGV[i + TENANT] ~= '' and queues[key] == nil then
      queues[key] = false
      shared[#shared + 1] = key
    end
    i = i + NEED
  end
end
for n, key in ipairs(shared) do keys[#names + n] = prefix .. TURNS .. key end
local function waits(a) return a[3] > now end
if #keys > 0 then
  local values = redis.call('MGET', unpack(keys))
  for n, key in ipairs(names) do
    local value = values[n]
    local t = value and floor(tonumber(value))
    if not value and sub(key, 1, 2) ~= FORGETTABLE then -- it has no end: it is new, or was thrown away
      if redis.call('HGET', prefix .. 'epoch', 'seen:' .. key) then t = UNKNOWN else fresh[key] = true end
    end
    arrivals[key] = t
    if value and #value > 20 and t + 100000 > now then -- or there is no debt
      local point = find(value, '.', 1, true)
      ends[key], used[key] = tonumber(sub(value, point + 1, point + 16)), tonumber(sub(value, point + 17))
    end
  end
  for n, key in ipairs(shared) do
    local live = {}
    for tenant, seen, ends, units in string.gmatch(values[#names + n] or '', '(%S+) (%d+) (%d+) (%d+)\n') do
      local a = {tenant, tonumber(seen), tonumber(ends), tonumber(units)}
      if a[2] <= now and (waits(a) or a[2] + TURN_SEEN > now) then live[#live + 1] = a end
    end
    queues[key] = #live > 0 and live
  end
end

local turned = {} -- keys whose turns this message changes

local function ahead(key, tenant)
  local units, several, behind = 0, false, false
  if tenant == '' then return units, several end
  for _, a in ipairs(queues[key] or {}) do
    local w = waits(a)
    if a[1] == tenant then
      behind = w
    elseif w then
      several = true
      if not behind then units = units + a[4] end
    elseif a[2] + TURN_SEEN > now then
      several = true
    end
  end
  return units, several
end

-- Puts a tenant at the end of the turns.
local function put(key, asking)
  local others, first = {}, nil
  for _, a in ipairs(queues[key] or {}) do
    if a[1] ~= asking[1] then
      others[#others + 1] = a
      if not first and not waits(a) then first = #others end
    end
  end
  if #others >= MOST_ASKING then table.remove(others, first or 1) end
  others[#others + 1] = asking
  queues[key], turned[key] = others, true
end

local function refused(i, wait)
  local key, tenant, least = ARGV[i], ARGV[i + TENANT], tonumber(ARGV[i + LEAST])
  local _, several = ahead(key, tenant)
  local grace, given = TURN_GRACE, 0
  if ARGV[i + KIND] ~= TOKENS or wait > TURN_PATIENCE then grace = TURN_RETURN end
  for _, a in ipairs(queues[key] or {}) do
    if waits(a) then
      if a[1] == tenant then
        a[2], a[3], a[4] = now, max(a[3], now + wait + grace), least
        turned[key] = true
        return 1
      end
      given = given + 1
    end
  end
  if several and (wait <= TURN_PATIENCE or given < FEW_TURNS) then
    put(key, {tenant, now, now + wait + grace, least})
    return 1
  end
  put(key, {tenant, now, 0, 0})
  return 0
end

-- Of the tokens of a group, by the place of the need: what was worked out on the way.
local times, lags, lates, debts = {}, {}, {}, {}

local function tokens(i, k)
  local key, period, cap = ARGV[i], tonumber(ARGV[i + PERIOD]), tonumber(ARGV[i + CAP])
  local lag = 0
  if period * 0.03 < 1500 then lag = floor(min((cap - 1000) * period / 2000, 100000)) end
  local t = arrivals[key]
  if not t then t = first and 0 or opened + ceil(cap * (period + 1) / 1000) + MAX_HOLD - lag end
  local late, debt = t + lag - now, 0
  if late > 0 then
    local most = now + ceil(cap * (period + 1) / 1000) + MAX_HOLD - lag
    if t > most then -- it is not known, or the clock was set back, or the limit was another
      t = t == UNKNOWN and most or most - MAX_HOLD
      late = t + lag - now
      arrivals[key], moved[key], ends[key] = t, true, nil
    end
    debt = late * 1000 / period
    if ends[key] then debt = max(min(debt, used[key] - max(now - ends[key], 0) * 1000 / period), 0) end
  end
  times[k], lags[k], lates[k], debts[k] = t, lag, late, debt
  local before = ahead(key, ARGV[i + TENANT])
  local amount, least = floor((cap - debt) / 1000) - before, tonumber(ARGV[i + LEAST])
  amount = max(min(tonumber(ARGV[i + MOST]), amount), 0)
  if amount >= least then return amount, 0 end
  local over = ((least + before) * 1000 - cap) * period / 1000
  local at = t + lag + over
  if ends[key] then at = min(at, ends[key] + used[key] * period / 1000 + over) end
  return amount, max(floor(at) - now, 0) + 1
end

local function grant(i, k, amount)
  local key, period, hold, lag = ARGV[i], tonumber(ARGV[i + PERIOD]), ARGV[i + HOLD], lags[k]
  local t, e = max(times[k], now + hold - lag) + ceil(amount * period), ends[key]
  arrivals[key], moved[key] = t, true
  if e or lates[k] <= 0 then
    local spent = ceil(debts[k]) + amount * 1000
    if spent * period < (t + lag - now) * 1000 then
      ends[key], used[key] = max(e or 0, now + hold), spent
    else
      ends[key] = nil
    end
  end
end

local function available(i, k)
  if ARGV[i + KIND] == TOKENS then return tokens(i, k) end
  local ends = learning(ARGV[i])
  if now < ends then return 0, ends - now end
  local before = ahead(ARGV[i], ARGV[i + TENANT])
  return max(0, min(tonumber(ARGV[i + MOST]), tonumber(ARGV[i + CAP]) - held(ARGV[i]) - before)), 50000
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
    local amount, wait = available(need, k)
    if amount < tonumber(ARGV[need + LEAST]) then
      reply = {k, wait, ARGV[need + KIND] ~= TOKENS and now < learning(ARGV[need]) and 1 or 0, 0}
      if ARGV[need + TENANT] ~= '' and reply[3] == 0 then reply[4] = refused(need, wait) end
      break
    end
    reply[3 + k] = amount
  end
  if reply[1] < 0 then
    for k = 0, n - 1 do
      local need, amount = i + k * NEED, reply[3 + k]
      local key, left = ARGV[need], 0
      if ARGV[need + TENANT] ~= '' and queues[key] then
        local _, several = ahead(key, ARGV[need + TENANT])
        if several then reply[2] = 1 end
        put(key, {ARGV[need + TENANT], now, 0, 0})
      end
      if ARGV[need + KIND] == TOKENS then
        if amount > 0 then grant(need, k, amount) end
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
      if ends > now then count = count + (raw[i] ~= LEARNS and 1 or 0)
      elseif ends + FORGET < now then forgotten[#forgotten + 1] = raw[i] end
    end
  end
  answer[3] = count
end

if reads then redis.call('HSET', prefix .. 'epoch', 'read', whole(now)) end
if not head[8] then redis.call('HSET', prefix .. 'epoch', 'drawn', 1) end
if relearn then redis.call('HSET', prefix .. 'epoch', 'learn', whole(learn)) end
redis.call('HSET', prefix .. 'instances', instance, whole(now + lease) .. ' ' .. whole(seq))
if noted > 0 then redis.call('HSET', prefix .. 'instances', LEARNS, whole(noted) .. ' 0') end
for key in pairs(moved) do
  local t, value = arrivals[key]
  if ends[key] then value = format('%.0f.%016.0f%.0f', t, ends[key], used[key]) else value = format('%.0f', t) end
  if sub(key, 1, 2) == FORGETTABLE then -- it ends long after it says no more than none would
    redis.call('SET', prefix .. key, value, 'PX', format('%.0f', (max(t - now, 0) + FORGET) / 1000))
  else
    redis.call('SET', prefix .. key, value)
    if fresh[key] then redis.call('HSET', prefix .. 'epoch', 'seen:' .. key, 1) end
  end
end
for key in pairs(turned) do
  local parts, last = {}, now
  for n, a in ipairs(queues[key]) do
    parts[n] = format('%s %.0f %.0f %.0f\n', a[1], a[2], a[3], a[4])
    last = max(last, a[3], a[2] + TURN_SEEN)
  end
  redis.call('SET', prefix .. TURNS .. key, table.concat(parts), 'PX', format('%.0f', (last - now) / 1000 + 1))
end
for key, names in pairs(changed) do
  local seen = false
  for name in pairs(slots[key]) do
    if sub(name, -1) == SEES then seen = true; break end
  end
  for name in pairs(names) do
    local n = slots[key][name]
    if name == LEARNS and learns[key] > now then n = learns[key] end
    if n then redis.call('HSET', prefix .. key, name, whole(n)) else redis.call('HDEL', prefix .. key, name) end
  end
  if seen then
    if not some[key] or ARGV[#ARGV] == 'full' then redis.call('HSET', prefix .. 'epoch', 'seen:' .. key, whole(now)) end
  elseif some[key] then
    redis.call('HDEL', prefix .. 'epoch', 'seen:' .. key)
  end
end
for _, name in ipairs(forgotten) do redis.call('HDEL', prefix .. 'instances', name) end
return answer
