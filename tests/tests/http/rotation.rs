//! Rotations with an `Idempotency-Key`: once for each key, whatever is sent again, and what is said where
//! that cannot be done.

use std::thread;

use anyhow::{Result, bail, ensure};
use leasehold_tests::server::{ADMIN_TOKEN, Answer, Client, no_body};
use leasehold_tests::{Engine, Fixture};
use sqlx::Executor as _;

use super::{TestBed, W};
use crate::database::on_both;

on_both! {
    a_rotation_with_a_key_is_done_once_and_answered_again,
    sixteen_rotations_with_one_key_at_once_are_one,
    a_rotation_whose_secret_was_replaced_since_is_not_answered_with_the_new_one,
    a_rotation_that_failed_without_effect_is_tried_again_with_its_key,
}

fn rotate(client: &Client, id: &str, key: &str) -> Result<Answer> {
    let path = format!("/workspaces/{id}/secret");
    client.send_with(&[("idempotency-key", key)], "POST", &path, Some(ADMIN_TOKEN), no_body())
}

fn rotated(client: &Client, id: &str, key: &str) -> Result<String> {
    rotate(client, id, key)?.text_of(200, "platform_inbound_secret")
}

async fn a_rotation_with_a_key_is_done_once_and_answered_again(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    bench.server.create("other")?;
    let first = rotated(&bench.server, W, "key-1")?;
    assert_eq!(rotated(&bench.server, W, "key-1")?, first);
    // An answer that is not cached is read again.
    bench.server.admin("POST", "/admin/cache/reset", no_body())?.json(200)?;
    assert_eq!(rotated(&bench.server, W, "key-1")?, first);
    assert_eq!((bench.server.stat("issues")?, bench.stored(W).await?), (1, Some(first.clone())));
    rotate(&bench.server, "other", "key-1")?.refusal(422, "idempotency_key_reused")?;
    assert_eq!(bench.stored("other").await?, None, "a refusal changes nothing");
    let longest = "~".repeat(255);
    assert_ne!(rotated(&bench.server, W, &longest)?, first, "another key is another rotation");
    for wrong in [longest + "~", String::new(), "\u{e9}".to_owned()] {
        let answer = rotate(&bench.server, W, &wrong)?;
        ensure!(answer.status == 400, "{wrong:?}: {answer:?}");
    }
    assert_eq!(bench.server.stat("issues")?, 2);
    Ok(())
}

async fn sixteen_rotations_with_one_key_at_once_are_one(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    let client: &Client = &bench.server;
    let mut all = thread::scope(|scope| {
        let sent: Vec<_> = (0..16).map(|_| scope.spawn(|| rotated(client, W, "key"))).collect();
        sent.into_iter().map(|sent| sent.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    all.dedup();
    assert_eq!((all.len(), bench.server.stat("issues")?, bench.stored(W).await?), (1, 1, all.pop()));
    Ok(())
}

async fn a_rotation_whose_secret_was_replaced_since_is_not_answered_with_the_new_one(
    engine: Engine,
) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    bench.server.create(W)?;
    rotated(&bench.server, W, "first")?;
    let second = rotated(&bench.server, W, "second")?;
    let refused = rotate(&bench.server, W, "first")?.refusal(409, "rotated_since")?;
    ensure!(!refused.to_string().contains(&second), "{refused}");
    assert_eq!((rotated(&bench.server, W, "second")?, bench.server.stat("issues")?), (second, 2));
    bench.server.admin("DELETE", &format!("/workspaces/{W}"), no_body())?;
    rotate(&bench.server, W, "second")?.refusal(409, "rotated_since")?;
    Ok(())
}

async fn a_rotation_that_failed_without_effect_is_tried_again_with_its_key(engine: Engine) -> Result<()> {
    let bench = TestBed::new(engine).await?;
    rotate(&bench.server, W, "key")?.refusal(404, "unknown_workspace")?;
    bench.server.create(W)?;
    bench.break_table().await?;
    rotate(&bench.server, W, "key")?.refusal(503, "database_refused")?;
    bench.mend_table().await?;
    let secret = rotated(&bench.server, W, "key")?;
    assert_eq!((rotated(&bench.server, W, "key")?, bench.stored(W).await?), (secret.clone(), Some(secret)));
    Ok(())
}

#[tokio::test]
async fn a_rotation_whose_outcome_is_unknown_is_not_tried_again_with_its_key() -> Result<()> {
    let bench = TestBed::new(Engine::Postgres).await?;
    bench.server.create(W)?;
    let Fixture::Postgres(database) = &bench.rows else { bail!("it is another database") };
    let mut holder = database.pool().begin().await?;
    holder.execute("SELECT FROM workspaces FOR UPDATE").await?;
    rotate(&bench.server, W, "key")?.refusal(503, "outcome_unknown")?;
    let again = rotate(&bench.server, W, "key")?.refusal(503, "outcome_unknown")?["message"].to_string();
    ensure!(again.contains("with another key") && again.contains("GET the secret"), "{again}");
    holder.rollback().await?;
    rotate(&bench.server, W, "key")?.refusal(503, "outcome_unknown")?;
    let secret = rotated(&bench.server, W, "another key")?;
    assert_eq!(bench.server.secret(W)?.0, secret);
    Ok(())
}
