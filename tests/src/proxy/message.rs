//! The frames of PostgreSQL's protocol, version 3: a type of one byte, a length that counts itself, and the
//! rest.
//!
//! Only what the proxy has to know is parsed: the text of a prepared statement, and the statement that is
//! bound. Bytes that make no sense are never reached: both ends speak the protocol or end the connection by
//! themselves.

use super::Statement;

/// The messages after a Bind: Execute of the unnamed portal without a limit, and Sync.
pub(super) const EXECUTE_AND_SYNC: [u8; 15] = *b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";

/// The bytes of one direction, cut into messages.
pub(super) struct Messages {
    bytes: Vec<u8>,
    typed: bool,
}

impl Messages {
    /// Returns the messages of a server.
    pub(super) fn typed() -> Self {
        Self { bytes: Vec::new(), typed: true }
    }

    /// Returns the messages of a client, which begins with a message that has no type.
    pub(super) fn untyped_first() -> Self {
        Self { bytes: Vec::new(), typed: false }
    }

    /// Returns the buffer for what is read.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes the next whole message.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let end = self.end_of(0)?;
        self.typed = true;
        Some(self.bytes.drain(..end).collect())
    }

    /// Returns whether all that is here is whole messages, and the last one says that the server has
    /// finished.
    pub(super) fn ends_ready(&self) -> bool {
        let (mut start, mut ready) = (0, false);
        while let Some(end) = self.end_of(start) {
            ready = self.bytes.get(start..end).is_some_and(is_ready);
            start = end;
        }
        ready && start == self.bytes.len()
    }

    /// Returns where the message ends that begins at `start`.
    fn end_of(&self, start: usize) -> Option<usize> {
        let length_at = start + usize::from(self.typed);
        let length = self.bytes.get(length_at..length_at + 4)?.try_into().ok()?;
        let end = length_at + u32::from_be_bytes(length) as usize;
        (end <= self.bytes.len()).then_some(end)
    }
}

/// Returns the name of a statement that a client has parsed, and its effect.
pub(super) fn parsed(request: &[u8]) -> Option<(&[u8], Statement)> {
    let (name, rest) = word(body(request, b'P')?)?;
    let (text, _) = word(rest)?;
    let statement = [(Statement::Select, &b"SELECT"[..]), (Statement::Update, b"WITH changed AS (UPDATE")];
    let (statement, _) = statement.into_iter().find(|(_, first)| text.starts_with(first))?;
    Some((name, statement))
}

/// Returns the effect of a statement that is sent as its text alone.
pub(super) fn sent_as_text(request: &[u8]) -> Option<Statement> {
    let (text, _) = word(body(request, b'Q')?)?;
    (text == b"COMMIT").then_some(Statement::Commit)
}

/// Returns the name of the statement that a client binds, in order to execute it.
pub(super) fn bound(request: &[u8]) -> Option<&[u8]> {
    let (_portal, rest) = word(body(request, b'B')?)?;
    Some(word(rest)?.0)
}

/// Returns whether the server says that it has finished a statement.
pub(super) fn is_ready(answer: &[u8]) -> bool {
    answer.first() == Some(&b'Z')
}

fn body(message: &[u8], kind: u8) -> Option<&[u8]> {
    (message.first() == Some(&kind)).then(|| message.get(5..)).flatten()
}

/// Returns text up to a zero byte, and what follows.
fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}
