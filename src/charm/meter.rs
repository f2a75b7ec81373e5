//! Measures what a script uses while it runs, and decides when it has had enough.
//!
//! Time is counted as CPU time of the polls of a script: waiting for a machine is free, a busy host does not make a
//! charm look slow. The interrupt reads a coarse clock (5 ns); the exact one, a system call, is read only when the
//! coarse one says that the limit is reached.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use mlua::{Error, Lua, VmState};

use super::fault::{Frame, Stop, StopReason, frames};
use super::vm::Limits;

fn clock_ms(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec, and both clocks asked for here exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

fn coarse_ms() -> u64 {
    clock_ms(libc::CLOCK_MONOTONIC_COARSE).max(1)
}

fn thread_cpu_ms() -> u64 {
    clock_ms(libc::CLOCK_THREAD_CPUTIME_ID)
}

#[derive(Default)]
pub struct Meter {
    /// Coarse time at which the running poll began; 0 outside of polls, where host code sets the VM up.
    poll_start: AtomicU64,
    poll_cpu_start: AtomicU64,
    /// CPU time of earlier polls since the last host call that reached a machine.
    used_ms: AtomicU64,
    /// The hook's own coroutine: the first safepoint of a hook is always in it.
    root: AtomicUsize,
    memory_after_gc: AtomicUsize,
    stopped: AtomicBool,
    /// The script was made to yield, and has not been polled to its next wait since.
    preempted: AtomicBool,
    stop: Mutex<Option<Stop>>,
    waiting_at: Mutex<Vec<Frame>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    pub fn reset(&self) {
        self.used_ms.store(0, Relaxed);
        self.root.store(0, Relaxed);
        self.memory_after_gc.store(0, Relaxed);
        self.stopped.store(false, Relaxed);
        self.preempted.store(false, Relaxed);
        locked(&self.stop).take();
        locked(&self.waiting_at).clear();
    }

    /// A host function is about to wait; remembers where, for an error that the total time ran out.
    pub fn waits(&self, lua: &Lua) {
        *locked(&self.waiting_at) = frames(lua);
    }

    /// A wait for the machine ended: the script has a fresh budget of time.
    pub fn rested(&self) {
        self.used_ms.store(0, Relaxed);
    }

    pub fn waiting_at(&self) -> Vec<Frame> {
        locked(&self.waiting_at).clone()
    }

    /// Called by Luau at every call, loop back-edge and step of the pattern matcher.
    pub fn interrupt(&self, lua: &Lua, limits: &Limits) -> mlua::Result<VmState> {
        let start = self.poll_start.load(Relaxed);
        if start == 0 {
            return Ok(VmState::Continue);
        }
        if self.stopped.load(Relaxed) {
            // `pcall` catches an error once; so it is raised again at every safepoint until the script is gone.
            if let Some(stop) = locked(&self.stop).clone() {
                return Err(Error::external(stop));
            }
        }
        let ran = coarse_ms().saturating_sub(start);
        if let Some(reason) = self.exceeded(lua, limits, ran)? {
            let stop = Stop { reason, frames: frames(lua) };
            *locked(&self.stop) = Some(stop.clone());
            self.stopped.store(true, Relaxed);
            return Err(Error::external(stop));
        }
        let state = lua.exec_raw_lua(|raw| raw.state() as usize);
        if self.root.load(Relaxed) == 0 {
            self.root.store(state, Relaxed);
        }
        // Yields let other tasks run and the future be dropped. Never inside a coroutine of the script: its `resume`
        // would take the yield for its own.
        let preempt = ran > limits.slice.as_millis() as u64 && state == self.root.load(Relaxed);
        if preempt {
            self.preempted.store(true, Relaxed);
        }
        Ok(if preempt { VmState::Yield } else { VmState::Continue })
    }

    fn exceeded(&self, lua: &Lua, limits: &Limits, ran: u64) -> mlua::Result<Option<StopReason>> {
        let limit = limits.busy.as_millis() as u64;
        let used = self.used_ms.load(Relaxed);
        if used + ran > limit {
            let cpu = thread_cpu_ms().saturating_sub(self.poll_cpu_start.load(Relaxed));
            if used + cpu >= limit {
                return Ok(Some(StopReason::Busy));
            }
        }
        // SAFETY: the state is that of the VM that is locked; lua_totalbytes only reads a counter.
        let memory = lua.exec_raw_lua(|raw| unsafe { mlua::ffi::lua_totalbytes(raw.state(), -1) });
        let last = self.memory_after_gc.load(Relaxed);
        if memory > limits.memory / 2 && memory > last + limits.memory / 16 {
            // Luau has no emergency collection: without this a script full of garbage would hit the hard limit.
            lua.gc_collect()?;
            let live = lua.used_memory();
            self.memory_after_gc.store(live, Relaxed);
            if live > limits.memory {
                return Ok(Some(StopReason::Memory));
            }
        }
        Ok(None)
    }
}

/// Counts the polls of a script's future.
pub struct Metered<F> {
    pub future: LiftDrop<F>,
    pub meter: Arc<Meter>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        struct End<'a>(&'a Meter);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                let cpu = thread_cpu_ms().saturating_sub(self.0.poll_cpu_start.load(Relaxed));
                self.0.used_ms.fetch_add(cpu, Relaxed);
                self.0.poll_start.store(0, Relaxed);
            }
        }
        let meter = self.meter.clone();
        meter.poll_cpu_start.store(thread_cpu_ms(), Relaxed);
        meter.poll_start.store(coarse_ms(), Relaxed);
        let _end = End(&meter);
        let resumed = meter.preempted.swap(false, Relaxed);
        let polled = Pin::new(&mut self.future).poll(context);
        if resumed && polled.is_pending() {
            // It may have been made to yield between a host call's poll and its wait. Resumed, it goes on to wait
            // without polling that call again, and a wake that came meanwhile would be lost.
            context.waker().wake_by_ref();
        }
        polled
    }
}

/// Lifts the memory limit while a `call_async` future is dropped.
///
/// mlua 0.12.2 resets the coroutine of such a future with an unprotected `lua_resetthread`; at the memory limit that
/// throws a C++ exception through Rust, which aborts the process. A script alone can bring that about.
pub struct LiftDrop<F> {
    future: Option<Pin<Box<F>>>,
    lua: Lua,
}

impl<F> LiftDrop<F> {
    pub fn new(lua: &Lua, future: F) -> Self {
        LiftDrop { future: Some(Box::pin(future)), lua: lua.clone() }
    }

    fn release(&mut self) {
        if let Some(future) = self.future.take() {
            let limit = self.lua.set_memory_limit(0);
            drop(future);
            if let Ok(limit) = limit {
                // Cannot fail: it just worked on the same VM.
                let _ = self.lua.set_memory_limit(limit);
            }
        }
    }
}

impl<F> Drop for LiftDrop<F> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<F: Future> Future for LiftDrop<F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.release();
        }
        polled
    }
}
