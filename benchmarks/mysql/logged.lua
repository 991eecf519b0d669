-- A script of sysbench's (LOAD_SCRIPT names it) that writes down when each transaction ended and how long it took: two
-- doubles each, seconds since the epoch and milliseconds, in a file per thread in LOAD_LOG. Transactions that sysbench
-- begins anew after an error, such as a deadlock, count when they are done. The clients log in one after the other:
-- a Router that shares spoils logins that come at once.
require(os.getenv("LOAD_SCRIPT"))

local ffi = require("ffi")
ffi.cdef[[
typedef struct { long seconds; long nanoseconds; } load_time;
int load_clock(int which, load_time *now) __asm__("clock_gettime");
int load_open(const char *path, int flags, int mode) __asm__("open");
int load_lock(int descriptor, int operation) __asm__("flock");
]]
local REALTIME, MANY = 0, 4096
local CREATE, LOCK, UNLOCK = 64 + 2, 2, 8

local transaction, first, last = event, thread_init, thread_done
local now, log, file, count = ffi.new("load_time"), ffi.new("double[?]", 2 * MANY), nil, 0

local function clock()
   ffi.C.load_clock(REALTIME, now)
   return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

local function flush()
   file:write(ffi.string(log, count * 16))
   count = 0
end

function thread_init()
   local door = ffi.C.load_open(os.getenv("LOAD_LOG") .. "/../door", CREATE, 384)
   assert(ffi.C.load_lock(door, LOCK) == 0)
   first()
   ffi.C.load_lock(door, UNLOCK)
   file = assert(io.open(string.format("%s/%d", os.getenv("LOAD_LOG"), sysbench.tid), "wb"))
end

function event()
   local begun = clock()
   transaction()
   local ended = clock()
   log[2 * count], log[2 * count + 1] = ended, (ended - begun) * 1000
   count = count + 1
   if count == MANY then flush() end
end

function thread_done()
   flush()
   file:close()
   last()
end
