//! Names that are wrong, and what the table or the role lacks: the start ends with the words of
//! `leasehold database check`.

use anyhow::{Result, ensure};

use super::{Shop, URL_FILE};

const COLUMNS: [&str; 4] = ["--column", "inbound_secret", "--token-column", "token_hash"];

/// Checks that both commands end with these words, and that the server does before it has done anything.
fn refused(shop: &Shop, arguments: &[&str], words: &[&str]) -> Result<()> {
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["database", "check"], &["migrate"]] {
        let all = command.iter().chain(&["--database-file", URL_FILE]).chain(arguments).copied();
        let ended = shop.command(all)?.run_to_completion()?;
        ensure!(ended.code == Some(1), "{arguments:?}: {ended:?}");
        for word in words {
            ensure!(ended.log.contains(word), "{command:?} {arguments:?}: no {word:?} in {}", ended.log);
        }
        ensure!(!ended.log.contains("hunter2"), "{}", ended.log);
    }
    Ok(())
}

#[tokio::test]
async fn a_name_that_is_wrong_is_named() -> Result<()> {
    let shop = Shop::granted().await?;
    shop.execute("CREATE TABLE shop.odd (id text, number integer, secret text, token_hash text)").await?;
    shop.execute(&format!("GRANT SELECT, UPDATE ON shop.odd TO {}", shop.role)).await?;
    let customers = ["--table", "shop.customers"];
    let with = |more: &[&'static str]| [&customers[..], more].concat();
    for (arguments, words) in [
        (vec!["--table", "nowhere.customers"], "there is no schema \"nowhere\""),
        (vec!["--table", "shop.nowhere"], "there is no table or view shop.nowhere"),
        (vec!["--table", "customers"], "a schema may be named"),
        (with(&["--key", "ID", "--column", "inbound_secret"]), "has no column \"ID\"; names are case"),
        (with(&["--column", "secret"]), "has no column \"secret\""),
        (with(&["--column", "inbound_secret"]), "has no column \"auth_token_hash\""),
        (vec!["--table", "shop.odd", "--column", "number", "--token-column", "token_hash"], "type integer"),
        (
            vec!["--table", "shop.odd", "--column", "secret", "--token-column", "token_hash"],
            "no unique index",
        ),
        (vec!["--table", "shop.cust-omers"], "--table, --key or --column cannot be used"),
        (vec!["--key", "id"], "--key is given without --table"),
        (vec!["--read-only-column"], "--read-only-column is given without --table"),
    ] {
        refused(&shop, &arguments, &[words])?;
    }
    let trusted = ["--table", "shop.odd", "--column", "secret", "--token-column", "token_hash"];
    let server = shop.serve(trusted.into_iter().chain(["--assume-unique"]))?.server()?;
    server.stop()?;
    Ok(())
}

#[tokio::test]
async fn a_right_that_is_missing_is_said_as_the_grant_that_gives_it() -> Result<()> {
    let shop = Shop::open().await?;
    let role = shop.role.clone();
    shop.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")).await?;
    let arguments = ["--table", "shop.customers"].into_iter().chain(COLUMNS).collect::<Vec<_>>();
    let grants = [
        format!("GRANT USAGE ON SCHEMA shop TO {role}"),
        format!("GRANT SELECT (id, inbound_secret) ON shop.customers TO {role}"),
        format!("GRANT UPDATE (inbound_secret) ON shop.customers TO {role}"),
        format!("GRANT SELECT (id, token_hash) ON shop.customers TO {role}"),
    ];
    for grant in &grants {
        refused(&shop, &arguments, &[grant])?;
        // It is the statement that mends it.
        shop.execute(grant).await?;
    }
    shop.serve(arguments.iter().copied())?.server()?.stop()?;
    // One that never writes needs no right to.
    shop.execute(&format!("REVOKE UPDATE (inbound_secret) ON shop.customers FROM {role}")).await?;
    refused(&shop, &arguments, &["--read-only-column"])?;
    shop.serve(arguments.into_iter().chain(["--read-only-column"]))?.server()?.stop()?;
    Ok(())
}
