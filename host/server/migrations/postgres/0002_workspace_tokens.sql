-- One row for each token of a workspace: the SHA-256 of the token in lower-case hexadecimal, and never the token.
-- The times are milliseconds since 1970. A token without expires_ms is let in until its row is deleted.
-- admits is what a server reads: the end of the token, if it has one, and the workspace that it opens.
create table workspace_tokens (
    token_hash text primary key
        constraint token_hash_is_sha256_in_lower_case_hexadecimal check (token_hash ~ '^[0-9a-f]{64}$'),
    workspace_id text not null references workspaces (id) on delete cascade,
    id text not null default substr(md5(random()::text), 1, 12),
    prefix text,
    created_ms bigint not null default (extract(epoch from now()) * 1000)::bigint,
    last_used_ms bigint,
    expires_ms bigint,
    admits text not null generated always as (coalesce(expires_ms::text, '') || ' ' || workspace_id) stored,
    unique (workspace_id, id)
);
