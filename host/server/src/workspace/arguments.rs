//! The arguments of `leasehold workspace`. Their values are checked where they are used.

use clap::{Args, Subcommand};

use crate::client::RemoteServer;

/// The subcommands of `leasehold workspace`.
#[derive(Clone, Debug, Subcommand)]
pub enum WorkspaceCommand {
    /// List workspaces in the order of their ids: when each was made, whether it has a secret, its id
    List(ListWorkspaces),
    /// Show one, and what is cached of it, without its secret
    Show(ShowWorkspace),
    /// Make one, and print its id and, below it, its token, which is shown once
    Create(CreateWorkspace),
    /// Delete one, with its secret and its tokens
    Delete(RemoteWorkspace),
    /// Rotate its secret
    Rotate(RotateSecret),
    /// Drop what the server has cached of it
    Forget(RemoteWorkspace),
    /// See to its tokens
    Token {
        /// The subcommand.
        #[command(subcommand)]
        command: WorkspaceTokenCommand,
    },
}

/// The subcommands of `leasehold workspace token`.
#[derive(Clone, Debug, Subcommand)]
pub enum WorkspaceTokenCommand {
    /// List its tokens: id, first characters, when made, when last used, when over
    List(ShowWorkspace),
    /// Make one more, and print it; it is shown once
    New(NewWorkspaceToken),
    /// Make one in place of all others, which are let in for a while, and print it; it is shown once
    Rotate(RotateWorkspaceToken),
    /// Revoke one at once
    Revoke {
        /// The workspace.
        #[command(flatten)]
        workspace: RemoteWorkspace,
        /// The token's id, as `leasehold workspace token list` has it
        #[arg(value_name = "TOKEN_ID")]
        token: String,
    },
}

/// Which workspace.
#[derive(Clone, Debug, Args)]
pub struct RemoteWorkspace {
    /// The workspace
    #[arg(value_name = "ID")]
    pub id: String,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// Which workspaces to list.
#[derive(Clone, Debug, Args)]
pub struct ListWorkspaces {
    /// How many of a page, 1000 at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: u32,

    /// Begin behind this id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,

    /// Go on page after page until the end
    #[arg(long)]
    pub all: bool,

    /// List those only that have no secret
    #[arg(long)]
    pub without_secret: bool,

    /// Print the server's answers as they are
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// What to show.
#[derive(Clone, Debug, Args)]
pub struct ShowWorkspace {
    /// The workspace
    #[arg(value_name = "ID")]
    pub id: String,

    /// Print the server's answer as it is
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// What to make.
#[derive(Clone, Debug, Args)]
pub struct CreateWorkspace {
    /// The id; without one it is a UUID
    #[arg(value_name = "ID")]
    pub id: Option<String>,

    /// Print the server's answer as it is, with the token
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// What to rotate.
#[derive(Clone, Debug, Args)]
pub struct RotateSecret {
    /// The workspace
    #[arg(value_name = "ID")]
    pub id: String,

    /// A word of this rotation's own: with the same one again it is not done twice
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,

    /// Print the new secret
    #[arg(long)]
    pub print: bool,

    /// Print the server's answer as it is, with the new secret
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// One more token.
#[derive(Clone, Debug, Args)]
pub struct NewWorkspaceToken {
    /// The workspace
    #[arg(value_name = "ID")]
    pub id: String,

    /// How long it is let in, such as 30d; without it, until it is revoked
    #[arg(long, value_name = "SPAN")]
    pub expires_in: Option<String>,

    /// Print the server's answer as it is, with the token
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}

/// A token in place of the others.
#[derive(Clone, Debug, Args)]
pub struct RotateWorkspaceToken {
    /// The workspace
    #[arg(value_name = "ID")]
    pub id: String,

    /// How long the others are still let in, such as 1h; without it, as long as the server says
    #[arg(long, value_name = "SPAN")]
    pub overlap: Option<String>,

    /// Print the server's answer as it is, with the token
    #[arg(long)]
    pub json: bool,

    /// The server.
    #[command(flatten)]
    pub server: RemoteServer,
}
