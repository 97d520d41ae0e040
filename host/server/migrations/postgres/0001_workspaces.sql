-- One row for each workspace.
-- No secret (NULL or '') means that none was issued yet, and the first heartbeat issues one.
create table workspaces (
    id text primary key,
    platform_inbound_secret text,
    created_at timestamptz not null default now()
);
