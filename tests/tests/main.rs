//! The integration tests, in one binary: one link, and one list of what holds.

mod cli;
mod contract;
mod crash;
mod database;
mod embed;
mod fake;
mod faults;
mod faults_sqlite;
mod field;
mod house;
mod http;
mod plaintext;
mod policies;
mod races;
mod simulation;
