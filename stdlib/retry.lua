--!strict
-- @std/retry: for what works a little later.

local retry = {}

-- Calls `body` up to `times` times, `seconds` apart, until it returns without error; gives what it returns. The last
-- error is raised as it was.
function retry.call<T...>(times: number, seconds: number, body: () -> T...): T...
  local try = 1
  while true do
    local result = table.pack(pcall(body))
    if result[1] then
      return table.unpack(result, 2, result.n)
    end
    if try >= times then
      error(result[2], 0)
    end
    print(`try {try} of {times} failed: {tostring(result[2])}`)
    sleep(seconds)
    try += 1
  end
end

return retry
