//! The marker by which the tests find this guest's memory from outside.
//!
//! It is computed when the guest runs: neither the component's bytes nor its settings contain it, so that
//! whatever memory of the process does contain it is a guest's own.

use core::hint::black_box;

use alloc::boxed::Box;

/// The byte that disguises the marker where it comes from. The template in `wat/` and the scanner know it as
/// well.
const DISGUISE: u8 = 0x5a;

/// Half a marker that all guests share, disguised. The other half is a setting, one for each case.
const SHARED: [u8; 8] = [0xd2, 0x91, 0xc7, 0xb3, 0x8c, 0xe5, 0xa9, 0xf4];

/// Sixteen bytes of this guest's memory.
pub(crate) struct Marker {
    _bytes: Box<[u8; 16]>,
}

impl Marker {
    pub(crate) fn new(own: &str) -> Self {
        let disguised = SHARED.iter().chain(own.as_bytes());
        let mut bytes = Box::new([0; 16]);
        for (byte, disguised) in bytes.iter_mut().zip(disguised) {
            *byte = disguised ^ black_box(DISGUISE);
        }
        Self { _bytes: black_box(bytes) }
    }
}
