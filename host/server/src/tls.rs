//! TLS: the certificate and its key, read at the start and again on SIGHUP.
//!
//! A pair that cannot be used leaves the one that is used: a renewal that was copied half-way must not end
//! the service.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::policy_source::read_file;

/// Maximum size of either file, a bound on a wrong one.
const MAX_BYTES: usize = 1024 * 1024;

/// The certificate in use, and where it came from.
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the pair, if the options name one.
    pub(crate) fn load(certificate: Option<&Path>, key: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return Ok(None),
            (Some(_), None) => anyhow::bail!("--tls-cert needs --tls-key, the file with its private key"),
            (None, Some(_)) => anyhow::bail!("--tls-key needs --tls-cert, the file with the certificate"),
        };
        let current = ArcSwap::from(config(certificate, key)?);
        Ok(Some(Self { certificate: certificate.to_owned(), key: key.to_owned(), current }))
    }

    /// Reads the pair again. Connections that are open keep the one that they began with.
    pub(crate) fn reload(&self) {
        match config(&self.certificate, &self.key) {
            Ok(config) => {
                self.current.store(config);
                tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the certificate cannot be read again; the one in use stays");
            }
        }
    }

    /// Returns what accepts a connection now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }
}

fn config(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let (cert_shown, key_shown) = (certificate.display(), key.display());
    let chain = read_file(certificate, MAX_BYTES)
        .with_context(|| format!("cannot read the certificate --tls-cert {cert_shown}"))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .with_context(|| format!("--tls-cert {cert_shown} is no PEM file"))?;
    anyhow::ensure!(
        !chain.is_empty(),
        "--tls-cert {cert_shown} has no certificate; expected PEM with BEGIN CERTIFICATE, the server's own \
         first"
    );
    let private = zeroize::Zeroizing::new(
        read_file(key, MAX_BYTES).with_context(|| format!("cannot read the key --tls-key {key_shown}"))?,
    );
    // The error may quote the file.
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|_| {
        anyhow::anyhow!(
            "--tls-key {key_shown} has no private key; expected PEM with BEGIN PRIVATE KEY, not encrypted"
        )
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("the key --tls-key {key_shown} does not go with --tls-cert {cert_shown}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
