-- Decides a batch of rate-limit requests one after another. A request has n demands: all are granted or none.
-- A key that several requests use is read and written once. Every number is an integer below 2^53; times are
-- microseconds.
-- KEYS: the states, each once; then the stored answers that requests ask for
-- ARGV: the time (empty: the server's clock), the number of states,
--   cmsgpack of the terms, twelve numbers each:
--     cost and size of a token bucket in microseconds (size -1: another algorithm), 1 if a stored answer is free,
--     algorithm (0 token bucket, 1 sliding window, 2 fixed window), unit or period, capacity, cost, 1 for shadow,
--     violations until a block (0: no blocks), their window, duration of a block, its cap
--   cmsgpack of the requests, each: n, index of its answer (0: none), then n times start of the term, index of the key
-- A stored state is the time at which a token bucket is full again, or the three numbers of a window; then, if
-- there are violations, '|' and four numbers: end of the block, blocks in a row, refusals, end of their window.
-- Reply: the time, then for each request
--   short form (granted, token buckets only): 1, the stored answer if the request asked for one, then n times
--     the time at which the bucket is full again; or
--   long form: 0, the stored answer if the request asked for one, allowed, number of newly blocked keys, then
--     n times refuses, remaining, retry, reset, blocked until
local call, unpacked, floor, max, min = redis.call, cmsgpack.unpack, math.floor, math.max, math.min
local now = tonumber(ARGV[1])
if not now then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end
local states = tonumber(ARGV[2])
local terms, asked = unpacked(ARGV[3]), unpacked(ARGV[4])
local values = call('MGET', unpack(KEYS))
-- By key: the time at which a token bucket is full again; false: the value is not a plain token bucket.
local fulls = {}
-- By key: the time until which a changed value matters, for its expiry. Keys without an entry are not written.
local ends = {}
-- By key: the end of its block, for keys that this batch has blocked.
local blocks = {}
-- The blocked keys by the end of their blocks, for the operator's list. It holds those that are blocked longest:
-- who makes up addresses must not fill the memory.
local BLOCKED, LISTED_AT_MOST = '{synccash:rl}:blocked', 10000

local int = function(x) return string.format('%.0f', x) end

local function token_bucket(d)
  local full = tonumber(d.state) or 0
  d.whole = d.capacity * d.unit
  -- No bucket needs twice as long: the clock was set back, and the bucket would stay closed until it catches up.
  if full < now or full - now > 2 * d.whole then full = now end
  d.full = full
  local short = full + d.cost * d.unit - now - d.whole
  d.fits = d.cost == 0 or short <= 0
  d.retry = d.fits and 0 or short
  d.matters_until = full
end

local function window_numbers(d)
  local window = floor(now / d.unit)
  local w, p, c = string.match(d.state, '^(%d+) (%d+) (%d+)$')
  w = tonumber(w)
  if not w or w < window - 1 then return window, 0, 0 end
  if w == window - 1 then return window, tonumber(c), 0 end
  if w > window + 1 then return window, 0, 0 end -- the clock was set back
  return w, tonumber(p), tonumber(c)
end

local function window(d)
  local w, previous, current = window_numbers(d)
  local period = d.unit
  local left = (w + 1) * period - now
  local sliding = d.algorithm == 1
  if not sliding then previous = 0 end
  d.matters_until = (w + (sliding and 2 or 1)) * period
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
    d.state = int(w) .. ' ' .. int(previous) .. ' ' .. int(current)
  end
  d.look = function()
    local used = -floor(-(previous * left + current * period) / period)
    local reset = 0
    if current > 0 then reset = sliding and left + period or left elseif previous > 0 then reset = left end
    return max(0, d.capacity - used), reset
  end
end

local function penalty_numbers(d)
  local till, level, count, closing = string.match(d.penalty, '^(%d+) (%d+) (%d+) (%d+)$')
  return tonumber(till) or 0, tonumber(level) or 0, tonumber(count) or 0, tonumber(closing) or 0
end

local function store(d)
  local matters_until = d.matters_until
  local value = d.state
  if d.penalty ~= '' then
    local till, level, _, closing = penalty_numbers(d)
    matters_until = max(matters_until, closing, till + (level > 0 and d.cap or 0))
    value = value .. '|' .. d.penalty
  end
  values[d.key] = value
  fulls[d.key] = nil
  ends[d.key] = matters_until
end

local function record_violation(d)
  local till, level, count, closing = penalty_numbers(d)
  if now >= closing then count = 0; closing = now + d.within end
  count = count + 1
  local is_blocked = count >= d.violations
  if is_blocked then
    if now >= till + d.cap then level = 0 end
    till = now + min(d.length * 2 ^ min(level, 30), d.cap)
    level = level + 1
    count = 0
    closing = 0
    d.ends = till
    blocks[d.key] = till
  end
  d.penalty = int(till) .. ' ' .. int(level) .. ' ' .. int(count) .. ' ' .. int(closing)
  store(d)
  return is_blocked
end

local function demand(t, key, stored)
  local value = values[key] or ''
  -- tostring would lose digits of a large number.
  if type(value) == 'number' then value = int(value) end
  local state, penalty = string.match(value, '^([^|]*)|?(.*)$')
  local d = {
    key = key, state = state, penalty = penalty, ends = 0,
    algorithm = terms[t + 4], unit = terms[t + 5], capacity = terms[t + 6], cost = terms[t + 7],
    shadow = terms[t + 8] == 1, violations = terms[t + 9], within = terms[t + 10], length = terms[t + 11],
    cap = terms[t + 12]
  }
  if stored and terms[t + 3] == 1 then d.cost = 0 end
  if d.algorithm == 0 then token_bucket(d)
  elseif d.algorithm == 1 or d.algorithm == 2 then window(d)
  -- Nothing is written before the end of the script, so an error leaves every limit unchanged.
  else error('unknown rate-limit algorithm ' .. tostring(d.algorithm)) end
  local till = penalty_numbers(d)
  if till > now then d.ends = till end
  d.refuses = d.ends > 0 or not d.fits
  return d
end

local reply, r = { now }, 1

-- Decides a request in full: all algorithms, blocks and violations.
local function decided(first, last, stored)
  local demands, allowed, blocked = {}, true, false
  for q = first, last, 2 do
    local d = demand(asked[q], asked[q + 1], stored)
    if d.ends > 0 then blocked = true end
    if d.refuses and not d.shadow then allowed = false end
    demands[#demands + 1] = d
  end
  local newly = 0
  if allowed then
    for _, d in ipairs(demands) do
      if d.fits and d.cost > 0 then
        if d.full then
          d.full = d.full + d.cost * d.unit
          d.state, d.matters_until = int(d.full), d.full
        else
          d.take()
        end
        store(d)
      end
    end
  elseif not blocked then
    for _, d in ipairs(demands) do
      if not d.fits and not d.shadow and d.violations > 0 and record_violation(d) then newly = newly + 1 end
    end
  end
  reply[r + 1] = allowed and 1 or 0
  reply[r + 2] = newly
  r = r + 2
  for _, d in ipairs(demands) do
    local remaining, reset
    if d.full then
      reset = d.full - now
      remaining = max(0, floor((d.whole - reset) / d.unit))
    else
      remaining, reset = d.look()
    end
    reply[r + 1] = d.refuses and 1 or 0
    reply[r + 2] = remaining
    reply[r + 3] = d.ends > 0 and max(d.retry, d.ends - now) or d.retry
    reply[r + 4] = reset
    reply[r + 5] = d.ends
    r = r + 5
  end
end

-- Fast path: token buckets without violations that all have room. Any other request is decided in full.
local p, size = 1, #asked
while p <= size do
  local first, last, number = p + 2, p + 1 + 2 * asked[p], asked[p + 1]
  local stored = number > 0 and values[states + number]
  local common, way = true, r + (number > 0 and 2 or 1)
  for q = first, last, 2 do
    local t, key = asked[q], asked[q + 1]
    local full = fulls[key]
    if full == nil then
      full = tonumber(values[key] or 0) or false
      fulls[key] = full
    end
    local whole = terms[t + 2]
    if not full or whole < 0 then common = false; break end
    if full < now then full = now end
    if not (stored and terms[t + 3] == 1) then full = full + terms[t + 1] end
    if full - now > whole then common = false; break end
    way = way + 1
    reply[way] = full
  end
  reply[r + 1] = common and 1 or 0
  r = r + 1
  if number > 0 then
    r = r + 1
    reply[r] = stored
  end
  if common then
    for q = first, last, 2 do
      r = r + 1
      local key, full = asked[q + 1], reply[r]
      if fulls[key] ~= full then
        fulls[key] = full
        if full > now then values[key] = full; ends[key] = full end
      end
    end
  else
    decided(first, last, stored)
  end
  p = last + 1
end

for key, ends_at in pairs(ends) do
  call('SET', KEYS[key], values[key], 'PX', max(1, floor((ends_at - now + 999) / 1000)))
end
for key, till in pairs(blocks) do
  call('ZADD', BLOCKED, int(till), KEYS[key])
end
if next(blocks) then
  call('ZREMRANGEBYSCORE', BLOCKED, '-inf', int(now))
  call('ZREMRANGEBYRANK', BLOCKED, 0, -LISTED_AT_MOST - 1)
  local last = call('ZREVRANGE', BLOCKED, 0, 0, 'WITHSCORES')[2]
  call('PEXPIRE', BLOCKED, max(1, floor((tonumber(last) - now + 999) / 1000)))
end
return reply
