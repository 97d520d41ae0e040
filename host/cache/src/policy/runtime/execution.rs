//! The ways of running policies: as machine code, or by an interpreter where the system lets no process make
//! code of its own.
//!
//! This file names the way, and finds out by trying what the system allows. It knows nothing of policies.

use wasmtime::{Config, Engine, Module};

use super::shortage::is_forbidden;
use crate::policy::printable::printable;
use crate::{Stage, SwapError};

/// Way of running policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Execution {
    /// Machine code.
    Native,
    /// An interpreter, which needs no executable memory.
    Interpreter,
}

impl Execution {
    /// Returns the word for logs and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Interpreter => "interpreter",
        }
    }

    /// Sets the compilation target in the configuration.
    pub(super) fn set(self, config: &mut Config) -> wasmtime::Result<()> {
        if self == Self::Interpreter {
            config.target(BYTECODE)?;
        }
        Ok(())
    }
}

/// Target of the interpreter, for processors of this width and byte order.
const BYTECODE: &str = match (cfg!(target_pointer_width = "64"), cfg!(target_endian = "little")) {
    (true, true) => "pulley64",
    (true, false) => "pulley64be",
    (false, true) => "pulley32",
    (false, false) => "pulley32be",
};

/// A value for each way of running policies.
#[derive(Default)]
pub(in crate::policy) struct Each<T> {
    pub(super) native: T,
    pub(super) interpreter: T,
}

impl<T> Each<T> {
    pub(in crate::policy) fn of(&self, execution: Execution) -> &T {
        match execution {
            Execution::Native => &self.native,
            Execution::Interpreter => &self.interpreter,
        }
    }
}

/// A module with one function that does nothing.
const NOTHING: [u8; 26] = [
    0, b'a', b's', b'm', 1, 0, 0, 0, // the header
    1, 4, 1, 0x60, 0, 0, // its type
    3, 2, 1, 0, // that it is of this type
    10, 4, 1, 2, 0, 0x0b, // its code
    0, 0,
];

/// Returns what the system allows, by compiling next to nothing: several mechanisms may forbid executable
/// memory, and none of them has to say so.
pub(super) fn allowed() -> Result<Execution, SwapError> {
    let module = NOTHING.get(..24).unwrap_or_default();
    match Engine::new(&Config::new()).and_then(|engine| Module::from_binary(&engine, module)) {
        Ok(_) => Ok(Execution::Native),
        Err(error) if is_forbidden(&error) => Ok(Execution::Interpreter),
        Err(error) => {
            let reason = printable(&format!("nothing can be compiled: {error:#}"));
            Err(SwapError::new(Stage::Host, reason))
        }
    }
}
