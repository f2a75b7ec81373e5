--!strict
-- Apache with one site.
--
-- `site` belongs to `prepare`; `serve` and `halt` to hooks.
local software = require("@std/software")
local systemd = require("@std/systemd")

local apache = {}

-- Makes `name` the only site, with the given configuration. Apache runs from boot on, but only while the file
-- `needs` is there: that is how a machine made from the layer does not serve before it is configured.
-- `unused` names configurations of packages that would show the site a second time.
function apache.site(
  machine: any,
  name: string,
  configuration: string,
  options: { needs: string, unused: { string }?, modules: { string }? }
)
  machine:write(`/etc/apache2/sites-available/{name}.conf`, configuration)
  machine:exec({ "a2dissite", "--quiet", "000-default", quiet = true })
  if options.unused then
    machine:exec({ "a2disconf", "--quiet", unpack(options.unused) })
  end
  if options.modules then
    machine:exec({ "a2enmod", "--quiet", unpack(options.modules) })
  end
  machine:exec({ "a2ensite", "--quiet", name })
  software.only_with(machine, { "apache2", "apache-htcacheclean" }, options.needs)
end

-- Starts Apache unless it runs. The file it needs must be there.
function apache.serve(unit: any)
  systemd.start(unit, "apache2")
end

function apache.halt(unit: any)
  systemd.stop(unit, "apache2")
end

-- Makes a running Apache read its configuration and PHP's files again; requests in progress are finished.
function apache.refresh(unit: any)
  if systemd.active(unit, "apache2") then
    systemd.reload(unit, "apache2")
  end
end

-- Raises an error with the page's first lines unless `path` is answered with 200 on this machine.
function apache.check(unit: any, path: string)
  local got = unit:exec({
    "php", "-r",
    [==[$context = stream_context_create(['http' => ['ignore_errors' => true, 'timeout' => 60]]);
    $page = @file_get_contents('http://' . $argv[1], false, $context);
    $last = array_values(preg_grep('#^HTTP/#', $http_response_header ?? []));
    $status = $last ? end($last) : 'no answer';
    if (preg_match('#^HTTP/\S+ 200#', $status)) exit(0);
    fwrite(STDERR, $status . "\n" . substr(strip_tags((string) $page), 0, 600));
    exit(1);]==],
    unit.private_address .. path,
    check = false,
    quiet = true,
  })
  if got.code ~= 0 then
    error(`http://{unit.private_address}{path} does not answer with 200: {got.stderr}`, 0)
  end
end

return apache
