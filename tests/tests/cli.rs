//! The binary as an operator meets it: what it says when it cannot start, and how it starts and ends otherwise.

mod bench;
mod compile_cache;
mod database;
mod hardened;
mod life;
mod operator;
mod policy;
mod policy_new;
mod schema;
mod signing;
mod sqlite_file;
mod start_up;
