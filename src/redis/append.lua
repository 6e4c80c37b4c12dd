-- Adds pages of a log to the stream, if it ends where the caller believes: so a retry, or another hub with the same
-- database, can neither double nor reorder. Also without pages, to tell that this hub is there.
-- KEYS: the stream, what is known of it, the hubs that can be asked. ARGV: feed, head of the log, where the stream is
-- believed to end ('': it is empty), positions that are kept, this hub's address or '', seconds after which another
-- feed counts as gone, '1' if the stream is to be emptied first; then for each page: its end, its start, start and
-- end of its round, the page.
local stream, about, origins = KEYS[1], KEYS[2], KEYS[3]
local now = tonumber(redis.call('TIME')[1])
local known = redis.call('HMGET', about, 'feed', 'beat', 'head')
if known[1] and known[1] ~= ARGV[1] then
  if known[2] and now - tonumber(known[2]) <= tonumber(ARGV[6]) then return {'other', known[1]} end
  redis.call('DEL', stream, about)
  known[3] = false
end
-- Of two hubs one may know less.
local head = ARGV[2]
if ARGV[7] ~= '1' and known[3] and tonumber(known[3]) > tonumber(head) then head = known[3] end
redis.call('HSET', about, 'feed', ARGV[1], 'beat', now, 'head', head)
if ARGV[5] ~= '' then redis.call('ZADD', origins, now, ARGV[5]) end
local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local tip, from, to = '', '0', '0'
if #last > 0 then
  tip = string.match(last[1][1], '^%d+')
  local fields = last[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'start' then from = fields[i + 1] elseif fields[i] == 'end' then to = fields[i + 1] end
  end
end
if tip ~= ARGV[3] then return {'moved', tip, from, to} end
if ARGV[7] == '1' then
  redis.call('DEL', stream)
  redis.call('HSET', about, 'epoch', now .. '-' .. tip)
end
for i = 8, #ARGV, 5 do
  redis.call('XADD', stream, ARGV[i] .. '-0', 'p', ARGV[i + 1], 'start', ARGV[i + 2], 'end', ARGV[i + 3], 'page', ARGV[i + 4])
  tip = ARGV[i]
end
local keep = (tonumber(tip) or 0) - tonumber(ARGV[4])
if keep > 0 then redis.call('XTRIM', stream, 'MINID', '~', string.format('%.0f', keep)) end
return {'done', tip}
