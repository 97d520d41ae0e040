-- One row for each workspace.
-- No secret (NULL or '') means that none was issued yet, and the first heartbeat issues one.
create table workspaces (
    id text primary key not null,
    platform_inbound_secret text,
    created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) strict;
