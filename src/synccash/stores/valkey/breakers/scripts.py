"""Keys and atomic Lua scripts of the shared breakers. All times are by Valkey's clock."""

MANUAL = "synccash:breakers:manual"
OPEN = "synccash:breakers:open"
CHANNEL = "synccash:breakers"


def lease_key(name: str) -> str:
    """Return the key of a breaker's probe lease."""
    return f"synccash:breakers:probe:{name}"


def instance_key(instance: str) -> str:
    """Return the key of a process's latest reports, by breaker."""
    return f"synccash:breakers:instance:{instance}"


# An entry that cannot be decoded counts as older than any manual action.
_VERSION = """
local function version_of(text)
  local read, message = pcall(cjson.decode, text)
  return read and type(message) == 'table' and tonumber(message.version) or 0
end
"""

# KEYS manual, open, lease; ARGV name, version, kind, reason, instance, "new" or "again".
# A "new" action gets a version above the stored one, so the last one wins; "again" only restores a lost one.
PUBLISH_MANUAL_ACTION = (
    _VERSION
    + """
local version, stored = tonumber(ARGV[2]), redis.call('HGET', KEYS[1], ARGV[1])
local known = stored and version_of(stored) or 0
if known >= version then
  if ARGV[6] == 'again' then return known end
  version = known + 1
end
local message = cjson.encode({kind = ARGV[3], name = ARGV[1], version = version, reason = ARGV[4],
  instance = ARGV[5]})
redis.call('HSET', KEYS[1], ARGV[1], message)
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', 'synccash:breakers', message)
return version
"""
)

# KEYS manual, open, lease; ARGV name, version, kind (open or closed), reason, instance, number,
# open ms, rounds.
# A change from before the last manual action is not published.
PUBLISH_STATE = (
    _VERSION
    + """
local stored = redis.call('HGET', KEYS[1], ARGV[1])
if stored and version_of(stored) > tonumber(ARGV[2]) then return 0 end
local time = redis.call('TIME')
local till = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[7])
local message = cjson.encode({kind = ARGV[3], name = ARGV[1], version = tonumber(ARGV[2]), reason = ARGV[4],
  instance = ARGV[5], number = tonumber(ARGV[6]), till_ms = till, rounds = tonumber(ARGV[8])})
if ARGV[3] == 'open' then
  redis.call('HSET', KEYS[2], ARGV[1], message)
  redis.call('PEXPIRE', KEYS[2], 86400000)
else
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if redis.call('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
redis.call('PUBLISH', 'synccash:breakers', message)
return 1
"""
)

# KEYS lease; ARGV instance, ms. Returns 0 when granted, else for how many ms another process still has it.
ACQUIRE_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return math.max(1, redis.call('PTTL', KEYS[1])) end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 0
"""

# KEYS lease; ARGV instance.
RELEASE_LEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
