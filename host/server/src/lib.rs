//! The heartbeat server: an example of how Leasehold is embedded that is whole enough to run.
//!
//! Read [`start`](Server::start) first: it puts the pieces together. Then read `routes/heartbeat.rs`, the
//! request that all of this is for. Nothing here decides what is cached or for how long: the policy does.
//!
//! It is a library only so that tests can start the server inside their own process; its one other user is
//! `main.rs`.

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
mod api;
mod app;
mod audit;
mod auth;
mod author;
mod bench;
mod cli;
mod client;
mod commands;
mod config;
mod connection;
mod credentials;
mod front;
mod listener;
mod made_token;
mod notify;
mod options;
mod peer;
mod policy;
mod policy_file;
mod policy_source;
mod print;
mod respond;
mod rotations;
mod routes;
mod server;
mod shutdown;
mod start;
mod state;
mod store;
mod telemetry;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod tls;
mod tokens;
mod trust;
mod user_signals;
mod values;
mod workspace;

pub use admin_token::AdminVariables;
pub use bench::Bench;
pub use cli::{Cli, Command};
pub use client::RemoteServer;
pub use commands::{
    AdminTokenCommand, Backup, CheckDatabase, ConfigCommand, DatabaseCommand, MigrateDatabase, NewAdminToken,
    Restore,
};
pub use config::{ConfigError, Configured, Layers};
pub use listener::Inherited;
pub use options::{
    AdminOptions, Bounds, ConfigFile, DatabaseOptions, Listen, LogFormat, LogOptions, Serve, StateOptions,
    TokenOptions,
};
pub use policy::{
    ApplyPolicy, Candidate, Card, Check, CommandOutcome, Expectation, NewPolicy, PolicyCommand,
    StatusOfPolicy,
};
pub use server::Server;
pub use shutdown::{hangups, signals};
pub use store::password_on_command_line;
pub use workspace::{
    CreateWorkspace, ListWorkspaces, NewWorkspaceToken, RemoteWorkspace, RotateSecret, RotateWorkspaceToken,
    ShowWorkspace, WorkspaceCommand, WorkspaceTokenCommand,
};
