-- One row for each token of a workspace: the SHA-256 of the token in lower-case hexadecimal, and never the token.
-- The times are milliseconds since 1970. A token without expires_ms is let in until its row is deleted.
-- admits is what a server reads: the end of the token, if it has one, and the workspace that it opens.
create table workspace_tokens (
    token_hash text primary key not null
        constraint token_hash_is_sha256_in_lower_case_hexadecimal
        check (length(token_hash) = 64 and token_hash not glob '*[^0-9a-f]*'),
    workspace_id text not null references workspaces (id) on delete cascade,
    id text not null default (lower(hex(randomblob(6)))),
    prefix text,
    created_ms integer not null default (cast(round((julianday('now') - 2440587.5) * 86400000) as integer)),
    last_used_ms integer,
    expires_ms integer,
    admits text not null
        generated always as (coalesce(cast(expires_ms as text), '') || ' ' || workspace_id) stored,
    unique (workspace_id, id)
) strict;
