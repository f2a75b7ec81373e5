//! What hostile scripts try. Each must end within its limit with the right kind of error, and the process must live.

mod sandbox_support;

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use encanto::charm::fake::FakeSink;
use encanto::charm::{
    AccessError, CharmHost, ExecCall, ExecResult, FaultKind, FileAttributes, FileInfo, Limits, MachineAccess,
    OutputLines,
};
use encanto::model::Hook;
use sandbox_support::*;

/// How an attack may end.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The script is not harmful here: it returns.
    Well,
    Busy,
    Memory,
    /// An error of the script itself, with this in its text.
    Raised(&'static str),
    /// Any end within the limit.
    Somehow,
}
use Ends::{Busy, Memory, Raised, Somehow, Well};

const ATTACKS: &[(&str, Ends)] = &[
    // Loops.
    ("while true do end", Busy),
    ("for i = 1, 1e300 do end", Busy),
    ("local function f() return f() end f()", Somehow),
    ("local function f() f() end f()", Raised("stack overflow")),
    ("repeat local x = 1 until false", Busy),
    ("local t = setmetatable({}, { __index = function(t, k) while true do end end }) return t.x", Busy),
    ("for _ in function() return 1 end do end", Busy),
    ("for _ in setmetatable({}, { __iter = function() return function() return 1 end end }) do end", Busy),
    ("table.sort({ 3, 2, 1 }, function() while true do end end)", Busy),
    ("string.gsub('aaa', 'a', function() while true do end end)", Busy),
    ("tostring(setmetatable({}, { __tostring = function() while true do end end }))", Busy),
    ("print(setmetatable({}, { __tostring = function() while true do end end }))", Busy),
    // Clinging to life.
    ("while true do pcall(function() while true do end end) end", Busy),
    ("local function f() pcall(f) while true do end end f()", Busy),
    ("xpcall(function() while true do end end, function() while true do end end)", Busy),
    ("while true do xpcall(error, function() while true do end end) end", Busy),
    ("local c = coroutine.create(function() while true do end end) while true do coroutine.resume(c) end", Busy),
    ("while true do coroutine.wrap(function() pcall(function() while true do end end) end)() end", Busy),
    ("error(setmetatable({}, { __tostring = function() while true do end end }))", Raised("table without a text")),
    ("error(setmetatable({}, { __index = function() while true do end end }))", Raised("table without a text")),
    ("while true do unit:log('x') end", Busy),
    ("while true do pcall(unit.file, unit, 'x') end", Busy),
    // Built-ins that loop on their own.
    ("string.find(('a'):rep(40), ('a*'):rep(30) .. 'b')", Busy),
    ("string.gsub(('a'):rep(1000000), '.-b', '')", Busy),
    ("string.find(('('):rep(1000000), '%b()')", Somehow),
    ("string.match(('a'):rep(2000000), 'x')", Raised("larger than 1 MiB")),
    ("string.find('a', ('a'):rep(300))", Raised("longer than 256")),
    ("for _ = 1, 200 do string.find(('a'):rep(1000000), ('a'):rep(1000) .. 'b', 1, true) end", Somehow),
    ("string.split(('a'):rep(1000000), ('a'):rep(255) .. 'b')", Somehow),
    ("local t = {} for i = 1, 40 do t[i] = ('a'):rep(100000) .. i end for _ = 1, 1e9 do table.sort(t) end", Busy),
    ("table.move({}, 1, 2147483646, 2)", Somehow),
    ("string.rep('', 1e15)", Somehow),
    ("table.insert(setmetatable({}, { __len = function() return 1e15 end }), 1)", Somehow),
    ("os.date(('%c'):rep(100000))", Raised("too long")),
    ("while true do os.time() end", Busy),
    // Memory.
    ("string.rep('x', 1e9)", Memory),
    ("local s = 'x' while true do s ..= s end", Memory),
    ("local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end", Memory),
    ("local t = {} while true do t[#t + 1] = {} end", Memory),
    ("buffer.create(1e9)", Memory),
    ("table.create(1e8, 1)", Raised("table overflow")),
    ("table.concat(table.create(100000, ('x'):rep(100000)))", Memory),
    ("string.format(('%s'):rep(100), table.unpack(table.create(100, ('x'):rep(1e7))))", Somehow),
    ("string.gsub(('x'):rep(1000000), 'x', ('y'):rep(10000))", Memory),
    (
        "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(100000) .. #t end end) end",
        Somehow,
    ),
    ("local function f(...) return f(1, ...) end f()", Somehow),
    ("local c = {} while true do c[#c + 1] = coroutine.create(function() end) end", Memory),
    (
        "local t = {} pcall(function() while true do t[#t + 1] = ('x'):rep(1e6) .. #t end end) unit:read('/x') error('x')",
        Memory,
    ),
    ("local s = secret('x') while true do s = s .. s end", Raised("larger than 64 KiB")),
    ("local t = {} for i = 1, 1e7 do t[i] = secret('secret' .. i) end", Raised("too many secrets")),
    // State.
    ("local t = {} for i = 1, 28 do t = { t, t } end unit.state.t = t", Raised("unit.state")),
    ("local t = {} t.t = t unit.state.t = t", Raised("nested deeper")),
    ("local t = {} for i = 1, 1e4 do t = { t } end unit.state.t = t", Raised("nested deeper")),
    ("unit.state.t = ('x'):rep(5000000)", Raised("larger than 4 MiB")),
    ("unit.state.t = 0/0", Raised("not a finite number")),
    ("unit.state.t = { 1, a = 2 }", Raised("mixes")),
    ("unit.state.t = '\\255'", Raised("not UTF-8")),
    ("setmetatable(unit.state, { __index = function() while true do end end, __iter = error })", Well),
    // Ways out.
    ("assert(loadstring == nil and load == nil and getfenv == nil and setfenv == nil and newproxy == nil)", Well),
    ("assert(io == nil and dofile == nil and loadfile == nil and package == nil and collectgarbage == nil)", Well),
    ("assert(os.execute == nil and os.getenv == nil and os.remove == nil and os.exit == nil)", Well),
    ("assert(debug.info == nil and debug.getregistry == nil and string.dump == nil)", Well),
    ("string.find = nil", Raised("readonly")),
    ("getmetatable('').__index = {}", Somehow),
    ("_G.print = nil assert(print ~= nil)", Somehow),
    ("rawset(string, 'x', 1)", Raised("readonly")),
    ("rawset(unit, 'name', 'x')", Raised("readonly")),
    ("setmetatable(unit, {})", Raised("")),
    ("assert(getmetatable(unit) == false)", Well),
    ("unit.config.x = 1", Raised("readonly")),
    ("table.clear(unit)", Raised("readonly")),
    ("require('../../../etc/passwd')", Raised("cannot require")),
    ("require('./lib/../../x')", Raised("leads out")),
    ("require('@std/../charm')", Raised("there is no module")),
    ("require('@self/x')", Raised("cannot require")),
    ("require('./evil')", Raised("not text")),
    ("unit:file('../charm.lua')", Raised("no file")),
    ("unit:exec { 'a\\0b' }", Raised("zero byte")),
    ("unit:exec { 'a', env = { ['A=B'] = 'c' } }", Raised("environment variable")),
    // Waiting in odd places.
    ("local c = coroutine.wrap(function() unit:exec { 'true' } coroutine.yield(7) end) assert(c() == 7)", Well),
    ("assert(pcall(function() unit:exec { 'true' } end))", Well),
    ("table.sort({ 2, 1 }, function() unit:exec { 'true' } end)", Raised("yield")),
    ("setmetatable({}, { __index = function() return unit:read('/x') end }).x()", Raised("")),
];

#[test]
fn every_attack_ends_as_it_should() {
    on_runtime(async {
        let limits = Limits { busy: Duration::from_millis(200), total: Duration::from_secs(10), ..Limits::default() };
        let mut wrong = Vec::new();
        for (body, ends) in ATTACKS {
            let stage = Stage::new(Limits { memory: 16 << 20, log_lines: 100, ..limits.clone() });
            let mut charm = install(body);
            charm.insert("evil.lua".into(), b"\x03\x01\x02evil".to_vec());
            let started = Instant::now();
            let result = stage.hook(&charm, context(Hook::Install)).await;
            let fits = match (ends, &result) {
                (Well, Ok(_)) | (Somehow, _) => true,
                (Busy, Err(error)) => error.kind == FaultKind::Busy,
                (Memory, Err(error)) => error.kind == FaultKind::Memory,
                (Raised(text), Err(error)) => {
                    matches!(error.kind, FaultKind::Raised | FaultKind::Syntax) && error.report().contains(text)
                }
                _ => false,
            };
            let took = started.elapsed();
            if !fits || took > Duration::from_secs(5) {
                let result = result.map_err(|error| (error.kind, error.report()));
                wrong.push(format!("{body}\n  expected {ends:?} in 5 s, got {result:?} in {took:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn a_limit_says_which_and_where() {
    on_runtime(async {
        let stage = Stage::new(Limits { memory: 8 << 20, ..short_limits() });
        let error = stage.install("local x = 1\nwhile true do x += 1 end").await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:5: ran longer than the limit of 0.2 s without a call to the machine");
        let error = stage.install("local t = {}\nwhile true do t[#t + 1] = {} end").await.unwrap_err();
        assert_eq!(error.summary(), "charm.lua:5: used more memory than the limit of 8 MiB");
    });
}

#[test]
fn waiting_for_the_machine_is_not_busy() {
    on_runtime(async {
        let stage = Stage::new(short_limits());
        // Also: preemption anywhere must not lose the wake of a wait.
        let body = "for n = 1, 40 do local x = 0 for i = 1, 5e4 + n * 1e3 do x += i end unit:exec { 'true' } end";
        stage.install(body).await.unwrap();
    });
}

#[test]
fn a_busy_hook_lets_others_run() {
    on_runtime(async {
        let stage = Stage::new(Limits { busy: Duration::from_millis(800), ..short_limits() });
        let charm = install("while true do end");
        let hook = stage.hook(&charm, context(Hook::Install));
        let started = Instant::now();
        assert!(tokio::time::timeout(Duration::from_millis(50), hook).await.is_err());
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    });
}

/// Its answer is there before whoever asked has begun to wait for it, and asking takes longer than a script's slice.
struct SlowToAsk;

#[async_trait]
impl MachineAccess for SlowToAsk {
    async fn read(&self, _: &str) -> Result<Option<Vec<u8>>, AccessError> {
        let mut asked = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(Ok(None));
            }
            std::thread::sleep(Duration::from_millis(30));
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    async fn exec(&self, _: ExecCall, _: OutputLines) -> Result<ExecResult, AccessError> {
        Err(AccessError("not asked for".to_owned()))
    }

    async fn write(&self, _: &str, _: &[u8], _: &FileAttributes) -> Result<(), AccessError> {
        Err(AccessError("not asked for".to_owned()))
    }

    async fn stat(&self, _: &str) -> Result<Option<FileInfo>, AccessError> {
        Ok(None)
    }

    async fn remove(&self, _: &str) -> Result<(), AccessError> {
        Ok(())
    }
}

#[test]
fn an_answer_that_comes_while_a_hook_is_preempted_is_not_lost() {
    on_runtime(async {
        let (host, charm) = (CharmHost::new(Limits::default()), install("for _ = 1, 5 do unit:read('/a') end"));
        let hook = host.run_hook(&charm, context(Hook::Install), Arc::new(SlowToAsk), FakeSink::new());
        tokio::time::timeout(Duration::from_secs(10), hook).await.expect("the hook hangs").unwrap();
    });
}
