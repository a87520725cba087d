-- Counts an attempt; one script, so that no counter is ever left without an end.
--
--   KEYS[1]  the counter
--   ARGV[1]  how long it lives from now on

local count = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { 'count', count }
