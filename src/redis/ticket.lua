-- Tickets, as src/store/ticket.rs keeps them. KEYS: the ticket. ARGV: what to do, now, user, claim or '', and to issue
-- one: until when it may be used first, until when what it opens may last ('': no end), until when it is kept.
local key, now = KEYS[1], tonumber(ARGV[2])
if ARGV[1] == 'issue' then
  if redis.call('EXISTS', key) == 0 then
    redis.call('HSET', key, 'user', ARGV[3], 'until', ARGV[5], 'expires', ARGV[6], 'used', '0', 'claim', '')
    redis.call('PEXPIREAT', key, ARGV[7])
  end
  return {1, ''}
end
local ticket = redis.call('HMGET', key, 'user', 'until', 'expires', 'used', 'claim')
if not ticket[1] then return {0, ''} end
if ARGV[1] == 'bind' then
  if ticket[4] ~= '1' or ticket[5] ~= '' then return {0, ''} end
  redis.call('HSET', key, 'claim', ARGV[4])
  return {1, ''}
end
local used, expires = ticket[4] == '1', ticket[3]
if ticket[1] ~= ARGV[3] or (expires ~= '' and tonumber(expires) <= now) then return {0, ''} end
if used then
  if ARGV[4] == '' or ticket[5] ~= ARGV[4] then return {0, ''} end
elseif tonumber(ticket[2]) < now then
  return {0, ''}
end
redis.call('HSET', key, 'used', '1')
return {1, expires}
