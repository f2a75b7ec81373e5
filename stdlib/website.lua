--!strict
-- The providing side of an `http` relation: who serves what can be asked of it, and only while it serves.
local website = {}

function website.announce(unit: any, endpoint: string, port: number)
  for _, relation in unit:relations(endpoint) do
    relation:set({ hostname = unit.private_address, port = tostring(port) })
  end
end

function website.withdraw(unit: any, endpoint: string)
  for _, relation in unit:relations(endpoint) do
    relation:set({ hostname = "", port = "" })
  end
end

return website
