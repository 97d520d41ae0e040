//! A file that is deleted or cut off under a server that has it open.
//!
//! No more than this can be promised of a file that is no longer there: the process lives, each answer is the
//! right secret or a typed error, and what cannot be read is never called absent, which would mint a new
//! secret over it.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};

use anyhow::{Context as _, Result, bail, ensure};
use leasehold_tests::server::{Launch, Server, no_body};

const FILE: &str = "test.db";
const WORKSPACES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Starts a server whose entries are never fresh, over a file that holds all there is: the log of its
/// predecessor is in it.
fn bench() -> Result<(Launch, Server, HashMap<&'static str, String>)> {
    let launch = Launch::new(&format!("sqlite://{FILE}?mode=rwc"))?.arguments(["--setting", "ttl=0s"]);
    let server = launch.server()?;
    let mut secrets = HashMap::new();
    for id in WORKSPACES {
        server.create(id)?;
        secrets.insert(id, server.rotate(id)?);
    }
    server.stop()?;
    let server = launch.server()?;
    Ok((launch, server, secrets))
}

/// Reads all the secrets, from as many threads, so that every connection of the pool is used and new ones are
/// opened. Returns how many could be read.
fn read_all(server: &Server, secrets: &HashMap<&'static str, String>) -> Result<usize> {
    let client = &**server;
    let answers: Vec<Result<bool>> = std::thread::scope(|scope| {
        let readers: Vec<_> = secrets
            .iter()
            .map(|(id, secret)| {
                scope.spawn(move || {
                    let answer = client.admin("GET", &format!("/workspaces/{id}/secret"), no_body())?;
                    match answer.status {
                        200 => {
                            let served = answer.text_of(200, "platform_inbound_secret")?;
                            ensure!(served == *secret, "{id}: served {served}, last was {secret}");
                            Ok(true)
                        }
                        503 => Ok(false),
                        status => bail!("{id}: {status} {}", answer.text),
                    }
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
    });
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(answers.into_iter().filter(|&served| served).count())
}

/// Rotates, and remembers what was acknowledged. Anything but an acknowledgement is a typed error.
fn rotate(server: &Server, secrets: &mut HashMap<&'static str, String>) -> Result<()> {
    for id in WORKSPACES {
        let answer = server.admin("POST", &format!("/workspaces/{id}/secret"), no_body())?;
        if answer.status == 200 {
            secrets.insert(id, answer.text_of(200, "platform_inbound_secret")?);
        } else {
            let code = answer.json(503)?["error"]["code"].as_str().context("no code")?.to_owned();
            ensure!(["unavailable", "outcome_unknown"].contains(&code.as_str()), "{}", answer.text);
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_deleted_under_the_server_makes_no_answer_wrong_and_no_crash() -> Result<()> {
    let (launch, server, mut secrets) = bench()?;
    for name in [FILE.to_owned(), format!("{FILE}-wal"), format!("{FILE}-shm")] {
        fs::remove_file(launch.folder().join(name))?;
    }
    for _ in 0..3 {
        read_all(&server, &secrets)?;
        rotate(&server, &mut secrets)?;
    }
    ensure!(server.get("/healthz")?.status == 200, "it is not healthy");
    let ended = server.stop()?;
    ensure!(!ended.log.contains("panicked"), "{}", ended.log);
    Ok(())
}

#[test]
fn a_file_that_is_cut_off_under_the_server_is_an_error_and_never_absence() -> Result<()> {
    let (launch, server, secrets) = bench()?;
    ensure!(read_all(&server, &secrets)? == secrets.len(), "not all can be read");
    OpenOptions::new().write(true).open(launch.folder().join(FILE))?.set_len(0)?;
    for _ in 0..3 {
        read_all(&server, &secrets)?;
    }
    ensure!(server.get("/healthz")?.status == 200, "it is not healthy");
    let ended = server.kill()?;
    ensure!(!ended.log.contains("panicked"), "{}", ended.log);
    Ok(())
}
