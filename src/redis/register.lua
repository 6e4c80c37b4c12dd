-- One user's register: `apply` of actors/register.rs, word for word. A test runs both over the same steps.
-- KEYS: the register. ARGV: step, fresh, hub, number, conn, claim, stamp, revoked, user, prefix of mailboxes,
-- microseconds: silent, remembered, concurrent; seconds: ttl of a register, of a mailbox; now (0: the server's).
local step, fresh = ARGV[1], ARGV[2] == '1'
local hub, number, conn, claim = ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6]
local stamp, revoked = tonumber(ARGV[7]), ARGV[8]
local silent, remembered, concurrent = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local time = redis.call('TIME')
local now = tonumber(ARGV[16])
if now == 0 then now = tonumber(time[1]) * 1000000 + tonumber(time[2]) end
local whole = function(n) return string.format('%.0f', n) end

local r = redis.call('HMGET', KEYS[1], 'claim', 'conn', 'hub', 'number', 'stamp', 'written', 'heard', 'revoked', 'superseded')
local write = function(fields)
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('EXPIRE', KEYS[1], ARGV[14])
end

if not r[1] then
  if step ~= 'release' or revoked ~= '' then
    write({'claim', claim, 'conn', step == 'release' and '' or conn, 'hub', hub, 'number', whole(number),
      'stamp', whole(stamp), 'written', whole(now), 'heard', whole(now),
      'revoked', revoked == claim and '1' or '', 'superseded', revoked ~= claim and revoked or ''})
  end
  return {'owner', whole(stamp)}
end

local owner = {claim = r[1], conn = r[2], hub = r[3], number = tonumber(r[4]), stamp = tonumber(r[5]),
  written = tonumber(r[6]), heard = tonumber(r[7]), revoked = r[8] == '1', superseded = r[9]}
if revoked == owner.claim then
  owner.revoked = true
  write({'revoked', '1'})
elseif revoked > owner.superseded then
  owner.superseded = revoked
  write({'superseded', revoked})
end
if owner.conn == conn then
  local fields = {'heard', whole(now), 'number', whole(math.max(owner.number, number))}
  if step == 'release' then
    fields[5], fields[6] = 'conn', ''
  end
  write(fields)
  return {'owner', whole(owner.stamp)}
end
if step == 'release' then return {'owner', whole(stamp)} end

local since_heard = math.max(now - owner.heard, 0)
local live = owner.conn ~= '' and since_heard < silent
local later = stamp > owner.stamp or (stamp == owner.stamp and conn > owner.conn)
local yields
if owner.hub == hub then
  yields = owner.number < number
elseif step == 'renew' then
  yields = later
elseif not fresh and claim ~= owner.claim then
  yields = not (claim <= owner.superseded or (claim < owner.claim and (live or since_heard < remembered)))
elseif not fresh and owner.revoked then
  yields = false
else
  local in_time = now <= stamp + 2 * concurrent
  yields = later or not live or (in_time and stamp + concurrent >= math.min(owner.written, now))
end
if not yields then
  if claim ~= owner.claim and claim > owner.superseded then write({'superseded', claim}) end
  return {'superseded', owner.claim}
end

stamp = math.max(stamp, owner.stamp + 1)
local over = (owner.conn ~= '' or owner.revoked) and owner.claim ~= claim
if over and owner.claim > owner.superseded then owner.superseded = owner.claim end
if owner.conn ~= '' and owner.hub ~= hub then
  local mailbox = ARGV[10] .. owner.hub
  redis.call('XADD', mailbox, 'MAXLEN', '~', 100000, '*', 'look', ARGV[9])
  redis.call('EXPIRE', mailbox, ARGV[15])
end
write({'claim', claim, 'conn', conn, 'hub', hub, 'number', whole(number), 'stamp', whole(stamp),
  'written', whole(now), 'heard', whole(now), 'revoked', '', 'superseded', owner.superseded})
return {'owner', whole(stamp)}
