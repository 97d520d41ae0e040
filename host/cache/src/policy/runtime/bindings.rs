//! The contract in Rust: one module for each minor version of it, generated from its folder in `wit/`.

pub(super) mod v0_1;
