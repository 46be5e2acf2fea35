-- The load for wrk. Every event has a meta.id and a meta.request_id of its own; everything else is built once.
-- Arguments: template file, events per POST, eight hex digits that no other run has, "close" or "keep-alive",
-- and a status where every other answer is to be counted (that costs wrk some time, so only warming up does it), or "any".

local threads = {}

function setup(thread)
   thread:set("number", #threads + 1)
   table.insert(threads, thread)
end

function init(args)
   local file = assert(io.open(args[1], "rb"))
   local event = file:read("*a")
   file:close()
   local a, b, c = event:match("^(.-)@ID@(.-)@ID@(.*)$")
   local many = tonumber(args[2])
   local prefix = string.format("%s-%04x-4000-8000-", args[3], number)
   local length = (#a + #b + #c + 2 * (#prefix + 12)) * many
   if many > 1 then length = length + many + 1 end
   local head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
      .. "\r\nContent-Type: application/json\r\nConnection: " .. args[4]
      .. "\r\nContent-Length: " .. length .. "\r\n\r\n"
   local made, format, concat = 0, string.format, table.concat
   if many == 1 then
      request = function()
         made = made + 1
         local id = prefix .. format("%012x", made)
         return concat({head, a, id, b, id, c})
      end
   else
      request = function()
         local parts = {}
         for n = 1, many do
            made = made + 1
            local id = prefix .. format("%012x", made)
            parts[n] = concat({a, id, b, id, c})
         end
         return concat({head, "[", concat(parts, ","), "]"})
      end
   end
   others = 0
   local wanted = tonumber(args[5])
   if wanted then
      response = function(status)
         if status ~= wanted then others = others + 1 end
      end
   end
end

function done(summary, latency, requests)
   local errors, others = summary.errors, 0
   for _, thread in ipairs(threads) do others = others + thread:get("others") end
   io.write(string.format(
      '\nRESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "status": %d, "others": %d, "socket": %d}\n',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      errors.status, others, errors.connect + errors.read + errors.write + errors.timeout))
end
