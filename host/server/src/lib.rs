//! The heartbeat server: an example of how Leasehold is embedded that is whole enough to run.
//!
//! Read [`start`](Server::start) first: it puts the pieces together. Then `routes/heartbeat.rs`, the request that all of
//! this is for. Nothing here decides what is cached or for how long: the policy does.
//!
//! A library only so that tests can start the server inside their own process; its one user otherwise is `main.rs`.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod admin_token;
mod app;
mod auth;
mod bench;
mod cli;
mod commands;
mod policy;
mod print;
mod respond;
mod routes;
mod server;
mod shutdown;
mod start;
mod state;
mod store;
mod tokens;

pub use cli::{
    ApplyPolicy, Bench, Candidate, Card, Check, Cli, Command, NewPolicy, PolicyCommand, RemoteServer, Serve,
    StatusOfPolicy,
};
pub use commands::{Backup, CheckDatabase, DatabaseCommand, MigrateDatabase, Restore};
pub use policy::{Expectation, Outcome};
pub use server::Server;
pub use shutdown::{hangups, signals};
