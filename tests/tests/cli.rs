//! The binary from an operator's view: its words when it cannot start, and its start and end otherwise.

mod admin_token;
mod bench;
mod compile_cache;
mod config;
mod database;
mod hardened;
mod life;
mod logs;
mod operator;
mod policy;
mod policy_new;
mod schema;
mod signals;
mod signing;
mod sqlite_file;
mod start_up;
mod upgrade;
mod workspace;
