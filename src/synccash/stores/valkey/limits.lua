-- n limits decided at once, all or nothing. Every number is an integer below 2^53; times in microseconds.
-- KEYS: for each demand its state and its penalty; then, if one is asked for, the stored answer.
-- ARGV: the time (empty: the server's own), n, then for each demand:
--   a token bucket's unit (empty: another algorithm, or a shadow), capacity, cost, waived by an answer, and
--   what the common way does not need: algorithm, unit or period, shadow,
--   violations (0: no block), their window, the block's duration, its cap
-- Answer: time, allowed, stored answer or false, newly blocked, then for each demand
--   refuses, remaining, retry, reset, blocked until
local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local n = tonumber(ARGV[2])
local values = redis.call('MGET', unpack(KEYS))
local answer = values[2 * n + 1] or false
local floor, max, min, call = math.floor, math.max, math.min, redis.call

-- The common way, before anything is made that only the others need: token buckets without a record of
-- violations, and all of them have room.
local common = true
local befores, units = {}, {}
for i = 1, n do
  local a = 5 * i - 2
  local unit = tonumber(ARGV[a])
  if not unit or values[2 * i] then common = false; break end
  local before = tonumber(values[2 * i - 1]) or now
  if before < now then before = now end
  local taken = 0
  if not (answer and ARGV[a + 3] == '1') then taken = ARGV[a + 2] * unit end
  if taken > 0 and before + taken - now > ARGV[a + 1] * unit then common = false; break end
  befores[i], units[i] = before, taken
end
if common then
  local reply = { now, 1, answer, 0 }
  for i = 1, n do
    local a, at = 5 * i - 2, 5 * i - 1
    local full = befores[i] + units[i]
    local left = full - now
    if units[i] > 0 then
      call('SET', KEYS[2 * i - 1], full, 'PX', max(1, floor((left + 999) / 1000)))
    end
    reply[at + 1] = 0
    reply[at + 2] = max(0, floor((ARGV[a + 1] * ARGV[a] - left) / ARGV[a]))
    reply[at + 3] = 0
    reply[at + 4] = left
    reply[at + 5] = 0
  end
  return reply
end

local int = function(x) return string.format('%.0f', x) end

local function token_bucket(d)
  local full = tonumber(d.state) or 0
  if full < now then full = now end
  d.full = full
  d.whole = d.capacity * d.unit
  local short = full + d.cost * d.unit - now - d.whole
  d.fits = d.cost == 0 or short <= 0
  d.retry = d.fits and 0 or short
end

local function rolled(d)
  local window = floor(now / d.unit)
  local w, p, c = string.match(d.state or '', '^(%d+) (%d+) (%d+)$')
  w = tonumber(w)
  if not w or w < window - 1 then return window, 0, 0 end
  if w == window - 1 then return window, tonumber(c), 0 end
  return w, tonumber(p), tonumber(c)
end

local function window(d)
  local w, previous, current = rolled(d)
  local period = d.unit
  local left = (w + 1) * period - now
  local sliding = d.algorithm == 's'
  if not sliding then previous = 0 end
  d.fits = d.cost == 0 or previous * left + (current + d.cost) * period <= d.capacity * period
  d.retry = 0
  if not d.fits then
    if not sliding then d.retry = left
    elseif current + d.cost <= d.capacity then
      d.retry = left - floor((d.capacity - current - d.cost) * period / previous)
    else
      d.retry = left + max(0, period - floor((d.capacity - d.cost) * period / current))
    end
  end
  d.take = function()
    current = current + d.cost
    return int(w) .. ' ' .. int(previous) .. ' ' .. int(current), (w + (sliding and 2 or 1)) * period
  end
  d.look = function()
    local used = -floor(-(previous * left + current * period) / period)
    local reset = 0
    if current > 0 then reset = sliding and left + period or left elseif previous > 0 then reset = left end
    return max(0, d.capacity - used), reset
  end
end

local function keep(key, value, till)
  call('SET', key, value, 'PX', max(1, floor((till - now + 999) / 1000)))
end

local demands, allowed, blocked = {}, true, false
for i = 1, n do
  local a = 5 * i - 2
  local algorithm, unit, shadow, violations, within, length, cap =
    string.match(ARGV[a + 4], '^(%a) (%d+) (%d) (%d+) (%d+) (%d+) (%d+)$')
  local d = {
    algorithm = algorithm, capacity = tonumber(ARGV[a + 1]), unit = tonumber(unit),
    cost = tonumber(ARGV[a + 2]), shadow = shadow == '1', violations = tonumber(violations),
    within = tonumber(within), length = tonumber(length), cap = tonumber(cap),
    state = values[2 * i - 1], penalty = values[2 * i], ends = 0
  }
  if answer and ARGV[a + 3] == '1' then d.cost = 0 end
  if d.algorithm == 't' then token_bucket(d) else window(d) end
  if d.penalty then
    local till = tonumber(string.match(d.penalty, '^%d+'))
    if till > now then d.ends = till; blocked = true end
  end
  d.refuses = d.ends > 0 or not d.fits
  if d.refuses and not d.shadow then allowed = false end
  demands[i] = d
end

local function violate(d, key)
  local till, level, count, closing = string.match(d.penalty or '0 0 0 0', '^(%d+) (%d+) (%d+) (%d+)$')
  till, level, count, closing = tonumber(till), tonumber(level), tonumber(count), tonumber(closing)
  local length, cap = d.length, d.cap
  if now >= closing then count = 0; closing = now + d.within end
  count = count + 1
  local shut = count >= d.violations
  if shut then
    if now >= till + cap then level = 0 end
    till = now + min(length * 2 ^ min(level, 30), cap)
    level = level + 1
    count = 0
    closing = 0
    d.ends = till
  end
  local value = int(till) .. ' ' .. int(level) .. ' ' .. int(count) .. ' ' .. int(closing)
  keep(key, value, max(closing, till + (level > 0 and cap or 0)))
  return shut
end

local newly = 0
if allowed then
  for i = 1, n do
    local d = demands[i]
    if d.fits and d.cost > 0 then
      if d.full then
        d.full = d.full + d.cost * d.unit
        keep(KEYS[2 * i - 1], d.full, d.full)
      else
        keep(KEYS[2 * i - 1], d.take())
      end
    end
  end
elseif not blocked then
  for i = 1, n do
    local d = demands[i]
    if not d.fits and not d.shadow and d.violations > 0 and violate(d, KEYS[2 * i]) then newly = newly + 1 end
  end
end

local reply = { now, allowed and 1 or 0, answer, newly }
for i = 1, n do
  local d, at = demands[i], 5 * i - 1
  local remaining, reset
  if d.full then
    reset = d.full - now
    remaining = max(0, floor((d.whole - reset) / d.unit))
  else
    remaining, reset = d.look()
  end
  reply[at + 1] = d.refuses and 1 or 0
  reply[at + 2] = remaining
  reply[at + 3] = d.ends > 0 and max(d.retry, d.ends - now) or d.retry
  reply[at + 4] = reset
  reply[at + 5] = d.ends
end
return reply
