//! Contract 0.1. Everything that a policy may import can trap; the database may wait.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::indexing_slicing,
    reason = "generated from wit/0.1"
)]

wasmtime::component::bindgen!({
    path: "../../wit/0.1",
    world: "leasehold:policy/cache-policy",
    imports: {
        "leasehold:policy/database": async | trappable,
        "leasehold:policy/log": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: { "leasehold:policy/types.secret": crate::policy::call::Handle },
});
