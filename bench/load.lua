-- The load for wrk. Every event has a meta.id and a meta.request_id of its own; everything else is built once.
-- Arguments: template file, events per POST, eight hex digits that no other run has, "close" or "keep-alive",
-- a status where every other answer is to be counted (that costs wrk some time, so only warming up does it), or "any",
-- "realistic" or "constant" headers and lengths, and how many streams there are.

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
   local before, after = a:match("^(.-)@N@(.*)$")
   local many, streams = tonumber(args[2]), tonumber(args[7])
   local prefix = string.format("%s-%04x-4000-8000-", args[3], number)
   local made, format, concat = 0, string.format, table.concat
   local first = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
      .. "\r\nContent-Type: application/json\r\nConnection: " .. args[4]
   local length = (#a + #b + #c + 2 * (#prefix + 12)) * many
   if many > 1 then length = length + many + 1 end
   local head = first .. "\r\nContent-Length: " .. length .. "\r\n\r\n"
   local function one()
      made = made + 1
      local id = prefix .. format("%012x", made)
      if before then return concat({before, made % streams, after, id, b, id, c}), id end
      return concat({a, id, b, id, c}), id
   end
   local function body()
      if many == 1 then return one() end
      local parts, id = {}
      for n = 1, many do parts[n], id = one() end
      return concat({"[", concat(parts, ","), "]"}), id
   end
   if args[6] == "realistic" then
      first = first .. "\r\nUser-Agent: Python/3.11 aiohttp/3.9.5\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate"
      request = function()
         local said, id = body()
         local spaces = string.rep(" ", made % 97)  -- a length that changes, and the same event
         return concat({first, "\r\nX-Request-Id: ", id, "\r\nContent-Length: ", #said + #spaces, "\r\n\r\n", said, spaces})
      end
   elseif before then
      request = function()
         local said = body()
         return concat({first, "\r\nContent-Length: ", #said, "\r\n\r\n", said})
      end
   else
      request = function() return concat({head, (body())}) end
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
