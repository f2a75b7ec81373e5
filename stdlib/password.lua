--!strict
-- @std/password: random passwords.

local password = {}

local CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
-- The largest multiple of their count that fits in 16 bits: above it some characters would be likelier.
local FAIR = 65536 - 65536 % #CHARACTERS

-- A text of `length` random letters and digits (default 24). It is known as a secret: no log line shows it.
function password.generate(length: number?): string
  local wanted = length or 24
  if wanted < 1 or wanted > 256 or wanted % 1 ~= 0 then
    error("the length of a password is a whole number from 1 to 256", 2)
  end
  local characters = {}
  while #characters < wanted do
    local number = tonumber(random_hex(4), 16) :: number
    if number < FAIR then
      local index = number % #CHARACTERS + 1
      table.insert(characters, string.sub(CHARACTERS, index, index))
    end
  end
  return secret(table.concat(characters)):reveal()
end

return password
