//! The parts that a component needs below the language: an allocator, `memcpy`, `cabi_realloc`, a panic
//! handler, one static.
//!
//! The standard library would bring all of it, and thirteen `wasi:*` imports that the host refuses. This is
//! the one file of the SDK with unsafe code: it implements symbols that the linker and the component model
//! ask for by name. A component runs on one thread, and the host never enters it twice at a time.

use alloc::alloc::{Layout, alloc, realloc};
use alloc::format;
use core::cell::OnceCell;
use core::panic::PanicInfo;

use super::bindings::leasehold::policy::log;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

// memcpy, memmove, memset and memcmp: only those objects of libc.a are linked, and none of its WASI imports.
#[link(name = "c")]
unsafe extern "C" {}

/// The configured policy of this instance.
pub struct Slot<P>(OnceCell<P>);

// SAFETY: a component instance has one thread, so that nothing is ever shared between threads.
unsafe impl<P> Sync for Slot<P> {}

impl<P> Slot<P> {
    /// Makes a slot that `configure` will fill.
    pub const fn empty() -> Self {
        Self(OnceCell::new())
    }

    /// Returns the policy. Traps before `configure`, which the host always calls first.
    pub fn get(&self) -> &P {
        self.0.get().unwrap_or_else(|| panic!("the host called the policy before control.configure"))
    }

    pub(super) fn fill(&self, policy: P) {
        if self.0.set(policy).is_err() {
            panic!("the host called control.configure twice");
        }
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    log::write(log::Level::Error, &format!("{info}"));
    core::arch::wasm32::unreachable()
}

/// The allocation function of the component model, by which the host gives the guest strings and lists.
///
/// # Safety
///
/// The host calls it as the canonical ABI says: `old` was allocated with `old_len` and `align`, or `old_len`
/// is 0.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_len: usize, align: usize, new_len: usize) -> *mut u8 {
    if new_len == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: `align` is a power of two and the sizes are below 4 GiB by the canonical ABI; `old` as promised
    // above.
    let new = unsafe {
        if old_len == 0 {
            alloc(Layout::from_size_align_unchecked(new_len, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_len, align), new_len)
        }
    };
    if new.is_null() {
        core::arch::wasm32::unreachable();
    }
    new
}
