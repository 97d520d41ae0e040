//! The functions that a policy can call during one call: the same natively and in a component.
//!
//! The two backends are `guest` (the contract's imports) and `fake` (a test's state); this file adds only
//! types.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

#[cfg(not(target_arch = "wasm32"))]
use crate::fake as backend;
#[cfg(target_arch = "wasm32")]
use crate::guest as backend;
use crate::{DatabaseError, Instant, IssueMode, Lease, Level};

/// One call about one workspace. Everything it does acts on that workspace and no other.
pub struct Context {
    pub(crate) workspace: String,
    pub(crate) host: backend::Host,
}

/// A secret that the host holds: a handle without bytes, good for this call only.
pub struct Secret(pub(crate) backend::Handle);

/// The cache's entry of the workspace.
#[derive(Debug)]
pub struct Snapshot {
    /// The secret, or `None` if absence was stored.
    pub value: Option<Secret>,
    /// The instant at which the value, or its absence, was obtained from the database.
    pub obtained_at: Instant,
    /// The lease, as the host lowered it.
    pub lease: Lease,
}

impl Context {
    /// Returns the workspace that this call is about.
    pub fn workspace(&self) -> &str {
        &self.workspace
    }

    /// Returns the present instant, in whole milliseconds.
    pub fn now(&self) -> Instant {
        self.host.now()
    }

    /// Reads the database with one SELECT. `None` is absence: no row, NULL, or the empty string.
    pub fn select(&self) -> Result<Option<Secret>, DatabaseError> {
        Ok(self.host.select()?.map(Secret))
    }

    /// Mints a secret and stores it with one UPDATE. A fault outside [`Policy::issue`](crate::Policy::issue).
    pub fn issue(&self, mode: IssueMode) -> Result<Secret, DatabaseError> {
        self.host.issue(mode).map(Secret)
    }

    /// Returns the entry, if there is one that is still kept.
    pub fn entry(&self) -> Option<Snapshot> {
        self.host.entry()
    }

    /// Stores `secret` under `lease` when this call returns.
    pub fn put(&self, secret: &Secret, lease: Lease) {
        self.host.put(Some(&secret.0), lease);
    }

    /// Puts a kept secret again, as after a swap, and returns whether that makes it fresh. If it does not,
    /// send a SELECT: `lease` has run out, or a refresh is due by it, which only a SELECT can bring; or the
    /// operator's ceilings have run out, to which the host lowers every lease.
    pub fn renew(&self, secret: &Secret, lease: Lease) -> bool {
        let now = self.now();
        if lease.fresh_until <= now || lease.refresh_after < now {
            return false;
        }
        self.put(secret, lease);
        self.entry().is_some_and(|granted| self.now() < granted.lease.fresh_until)
    }

    /// Sends one SELECT, and puts the secret that it finds under `lease`. If it finds none, the entry goes: a
    /// longer lease must not bring it back. If it fails, nothing changes.
    pub fn load(&self, lease: impl FnOnce(&Secret) -> Lease) -> Result<Option<Secret>, DatabaseError> {
        let found = self.select()?;
        match &found {
            Some(secret) => self.put(secret, lease(secret)),
            None => self.remove(),
        }
        Ok(found)
    }

    /// Carries out a whole `read`: a kept secret that is young enough for `lease`, as after a swap, is leased
    /// again without a SELECT, and anything else is [loaded](Self::load), also where `lease` asks for a
    /// refresh that is due.
    pub fn read_through(&self, lease: impl Fn(&Secret) -> Lease) -> Result<Option<Secret>, DatabaseError> {
        if let Some(secret) = self.entry().and_then(|entry| entry.value)
            && self.renew(&secret, lease(&secret))
        {
            return Ok(Some(secret));
        }
        self.load(lease)
    }

    /// Carries out a whole `issue`: the database first, since a secret that it has not committed must not be
    /// served, and then the secret is put under `lease`.
    pub fn write_through(
        &self,
        mode: IssueMode,
        lease: impl FnOnce(&Secret) -> Lease,
    ) -> Result<Secret, DatabaseError> {
        let secret = self.issue(mode)?;
        self.put(&secret, lease(&secret));
        Ok(secret)
    }

    /// Returns the time to take off a lease of `ttl` for a value obtained at `obtained_at`, so that a fleet
    /// which started together does not expire together: less than `most`, and next to nothing once the fleet
    /// is spread.
    ///
    /// Each workspace has a moment of its own in every `ttl`. The later after it a value was obtained, the
    /// more is taken off: the lease ends nearer to that moment, never before it, and after a few leases all
    /// but at it. So in the long run a workspace that is read all the time costs one SELECT for each `ttl`,
    /// as it does without jitter, and the moments of a fleet are spread evenly over the whole of `ttl`,
    /// whatever had brought it into step. Nothing is remembered for that.
    ///
    /// If the lease asks for a refresh ahead of its end, `ttl` is the time until that refresh.
    pub fn jitter(&self, obtained_at: Instant, ttl: Duration, most: Duration) -> Duration {
        // Milliseconds in 32 bits are 49 days, and a product of two of them fits.
        let millis = |span: Duration| u64::from(u32::try_from(span.as_millis()).unwrap_or(u32::MAX));
        let (ttl_ms, most_ms) = (millis(ttl), millis(most.min(ttl)));
        if ttl_ms == 0 || most_ms == 0 {
            return Duration::ZERO;
        }
        let moment = u64::from(finish(fnv(self.workspace.bytes())));
        let late_ms = (obtained_at.as_nanos() / 1_000_000 + moment) % ttl_ms;
        Duration::from_millis(most_ms * late_ms / ttl_ms)
    }

    /// Returns a part of `span`, from none to all of it: always the same for one reading of the database,
    /// different from workspace to workspace and from one reading to the next. Taken off each lease it makes
    /// them shorter by half of `span` in the mean, for ever; [`jitter`](Self::jitter) does not.
    pub fn share(&self, secret: &Secret, span: Duration) -> Duration {
        if span.is_zero() {
            // A call of the host costs more than all the rest of a read.
            return span;
        }
        let bytes = self.workspace.bytes().chain(secret.obtained_at().as_nanos().to_le_bytes());
        span / 1000 * (fnv(bytes) % 1001)
    }

    /// Stores absence under `lease` when this call returns. The last [`select`](Self::select) must have found
    /// none.
    pub fn put_absent(&self, lease: Lease) {
        self.host.put(None, lease);
    }

    /// Drops the entry when this call returns.
    pub fn remove(&self) {
        self.host.remove();
    }

    /// Writes a line to the operator's log: 256 bytes at most, 16 lines a call.
    pub fn log(&self, level: Level, message: &str) {
        self.host.log(level, message);
    }
}

/// Hashes by FNV-1a: no random numbers are at hand, and none are needed.
fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Lets each bit of the hash change all others (the last step of MurmurHash3): ids that differ in their last
/// digit alone would lie side by side otherwise.
fn finish(mut hash: u32) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

impl Secret {
    /// Returns the instant at which the host knew this value to be in the database.
    pub fn obtained_at(&self) -> Instant {
        backend::obtained_at(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
