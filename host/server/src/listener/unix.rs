//! Unix sockets: the file of one, which a server that was killed leaves behind.
//!
//! A file on which another server listens is never taken away from it, and at the end only a file that is
//! still our own is removed: a successor may have put its own there.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::net::{UnixListener, UnixSocket};

/// The file of a socket that is our own. It is removed when this is dropped.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours =
            fs::metadata(&self.path).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(file = %self.path.display(), %error, "the socket's file cannot be removed");
        }
    }
}

/// Checks that a socket can be made at a path; a file that was left behind is removed.
pub(super) fn make_room(option: &str, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    SocketAddr::from_pathname(path)
        .with_context(|| format!("{option} unix:{shown} cannot be a socket; expected a shorter path"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(
        folder.is_dir(),
        "{option} unix:{shown} cannot be made: {} is no folder; make it first, or name another path",
        folder.display()
    );
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{option} unix:{shown} cannot be looked at")),
        Ok(metadata) if !metadata.file_type().is_socket() => anyhow::bail!(
            "{option} unix:{shown} is a file that is no socket; name another path, or remove it"
        ),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
                .with_context(|| format!("{option} unix:{shown} was left behind and cannot be removed")),
            Ok(_) => anyhow::bail!("another program listens on {option} unix:{shown}; stop it first"),
            Err(error) => Err(error).with_context(|| format!("{option} unix:{shown} cannot be used")),
        },
    }
}

/// Makes the socket.
pub(super) fn open(
    option: &str,
    path: &Path,
    mode: u32,
    backlog: u32,
) -> anyhow::Result<(UnixListener, SocketFile)> {
    let opened = || {
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let metadata = fs::metadata(path)?;
        let file = SocketFile { path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) };
        Ok::<_, std::io::Error>((socket.listen(backlog)?, file))
    };
    opened().with_context(|| {
        format!(
            "cannot listen on {option} unix:{}; does its folder exist, and may this user write there?",
            path.display()
        )
    })
}
