//! The lower priorities of threads, behind the threads that answer callers.

/// Priority of slow calls: a quarter of what a thread of normal priority gets where both want all of a
/// processor.
pub(super) const SLOW_CALLS: i32 = 5;
/// Priority of the compiler: a tenth of it; 19 would be behind everything.
pub(super) const COMPILER: i32 = 10;

/// Lowers the priority of this thread alone, which only Linux can do. At the usual priority it works as well.
pub(super) fn lower_priority(by: i32) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(by);
    #[cfg(not(target_os = "linux"))]
    let _ = by;
}
