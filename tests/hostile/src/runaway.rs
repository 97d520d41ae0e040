//! Work that does not end by itself: what the limits of time, stack and memory are for.
//!
//! Nothing here asks for a secret or gives one back. `black_box` keeps the compiler from seeing that the work
//! is idle.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;
use core::mem;

use leasehold_policy::{Context, Lease, Level, Secret};

use crate::FAR;

pub(crate) fn spin() -> ! {
    let mut count: u64 = 0;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

/// Works for some milliseconds.
pub(crate) fn dawdle() {
    for count in 0..10_000_000_u64 {
        black_box(count);
    }
}

pub(crate) fn ask_the_clock(cx: &Context) -> ! {
    loop {
        black_box(cx.now());
    }
}

pub(crate) fn ask_for_the_entry(cx: &Context) -> ! {
    loop {
        drop(black_box(cx.entry()));
    }
}

pub(crate) fn put(cx: &Context, secret: &Secret) -> ! {
    loop {
        cx.put(secret, Lease::until(FAR));
    }
}

pub(crate) fn remove(cx: &Context) -> ! {
    loop {
        cx.remove();
    }
}

pub(crate) fn log(cx: &Context) -> ! {
    loop {
        cx.log(Level::Warn, "still here\nforged line");
    }
}

pub(crate) fn grow() -> ! {
    loop {
        mem::forget(black_box(vec![1_u8; 1 << 20]));
    }
}

pub(crate) fn fill() -> ! {
    let mut bytes = vec![0_u8; 2 << 20];
    loop {
        black_box(&mut bytes).fill(black_box(7));
    }
}

/// Takes as many handles as it gets, and keeps all of them.
pub(crate) fn hoard(cx: &Context, secret: &Secret) -> ! {
    cx.put(secret, Lease::until(FAR));
    loop {
        mem::forget(cx.entry());
    }
}

#[expect(unconditional_recursion, reason = "it is what the stack's limit is for")]
pub(crate) fn recurse(depth: usize) -> Option<Secret> {
    let frame: Box<[usize]> = Vec::from([depth; 4]).into_boxed_slice();
    let below = recurse(black_box(&frame)[0] + 1);
    if black_box(depth) == usize::MAX { None } else { below }
}
