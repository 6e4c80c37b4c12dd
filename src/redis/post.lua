-- Writes a note to the hub that serves a user, unless that is the one that asks; whether there is such a hub.
-- KEYS: the register. ARGV: the hub that asks, prefix of mailboxes, seconds that a mailbox is kept, the note.
local owner = redis.call('HMGET', KEYS[1], 'hub', 'conn')
if not owner[1] or owner[1] == ARGV[1] or owner[2] == '' then return 0 end
local mailbox = ARGV[2] .. owner[1]
redis.call('XADD', mailbox, 'MAXLEN', '~', 100000, '*', 'note', ARGV[4])
redis.call('EXPIRE', mailbox, ARGV[3])
return 1
