//! The server as it is run in the field: behind a pooler, with a standby, with few privileges.
//!
//! Everything is real: the binary, PostgreSQL, PgBouncer of both kinds. The tests check what an operator
//! sees: rows, answers, and words.

mod changing;
mod crowd;
mod dead;
mod existing;
mod failover;
mod fixtures;
mod load;
mod login;
mod migrate;
mod pooler;
mod privileges;
mod ready;
mod servers;
mod standby;
mod told;
mod url_file;
