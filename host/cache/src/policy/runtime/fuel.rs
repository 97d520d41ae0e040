//! Fuel: the unit in which a running policy's work is counted, and the slice after which it yields to the
//! meter.
//!
//! Compiled code counts what it does and yields by itself, on its own thread. A clock on another thread would
//! need that thread to run in time, and on a machine that is shared with others it was up to 8 ms late. The
//! initial state of an instance is made without fuel, and bounded by `inspect.rs`.

use wasmtime::{OperatorCost, Store, VariableOperatorCost};

use super::execution::Execution;

/// Fuel between two looks of the meter. Most instructions cost 1, bulk ones 1 for each byte besides. A tight
/// loop takes 60 µs for it, the slowest instructions that were found take 1 ms. A call of a shipped policy
/// spends some hundredths of it.
const SLICE: u64 = 200_000;
/// Slice of the interpreter, which takes some ten times as long for an instruction.
const INTERPRETED_SLICE: u64 = 20_000;

/// Cost of an instruction that may leave the policy's own code for the host's.
const LEAVING: u8 = 100;

/// Cost of an instruction that takes some tens of cycles, with numbers that a processor is slow with.
const SLOW: u8 = 10;

/// Cost of an instruction that may wait for the memory, behind all caches.
const FROM_MEMORY: u8 = 20;

/// Returns the fuel between two looks of the meter.
pub(super) fn slice(execution: Execution) -> u64 {
    match execution {
        Execution::Native => SLICE,
        Execution::Interpreter => INTERPRETED_SLICE,
    }
}

/// Returns the costs of the instructions.
pub(super) fn costs() -> OperatorCost {
    OperatorCost {
        Call: LEAVING,
        CallIndirect: LEAVING,
        MemoryGrow: LEAVING,
        MemoryCopy: LEAVING,
        MemoryFill: LEAVING,
        MemoryInit: LEAVING,
        DataDrop: LEAVING,
        TableGet: LEAVING,
        TableGrow: LEAVING,
        TableCopy: LEAVING,
        TableFill: LEAVING,
        TableInit: LEAVING,
        ElemDrop: LEAVING,
        RefFunc: LEAVING,
        I32Load: FROM_MEMORY,
        I64Load: FROM_MEMORY,
        F32Load: FROM_MEMORY,
        F64Load: FROM_MEMORY,
        I32Load8S: FROM_MEMORY,
        I32Load8U: FROM_MEMORY,
        I32Load16S: FROM_MEMORY,
        I32Load16U: FROM_MEMORY,
        I64Load8S: FROM_MEMORY,
        I64Load8U: FROM_MEMORY,
        I64Load16S: FROM_MEMORY,
        I64Load16U: FROM_MEMORY,
        I64Load32S: FROM_MEMORY,
        I64Load32U: FROM_MEMORY,
        I32Store: SLOW,
        I64Store: SLOW,
        F32Store: SLOW,
        F64Store: SLOW,
        I32Store8: SLOW,
        I32Store16: SLOW,
        I64Store8: SLOW,
        I64Store16: SLOW,
        I64Store32: SLOW,
        F32DemoteF64: SLOW,
        F64PromoteF32: SLOW,
        I32DivS: SLOW,
        I32DivU: SLOW,
        I32RemS: SLOW,
        I32RemU: SLOW,
        I64DivS: SLOW,
        I64DivU: SLOW,
        I64RemS: SLOW,
        I64RemU: SLOW,
        F32Sqrt: SLOW,
        F64Sqrt: SLOW,
        F32Div: SLOW,
        F64Div: SLOW,
        F32Mul: SLOW,
        F64Mul: SLOW,
        variable: VariableOperatorCost {
            table_copy_per_element: SLOW,
            table_fill_per_element: SLOW,
            table_init_per_element: SLOW,
            ..VariableOperatorCost::default()
        },
        ..OperatorCost::default()
    }
}

/// Refills the fuel, so that the policy runs on from look to look: the meter decides how long in all. The
/// next slice begins here, so that a call which spends less than a slice is not interrupted.
pub(super) fn refill<T>(store: &mut Store<T>, slice: u64) -> wasmtime::Result<()> {
    store.fuel_async_yield_interval(Some(slice))?;
    store.set_fuel(u64::MAX)
}
