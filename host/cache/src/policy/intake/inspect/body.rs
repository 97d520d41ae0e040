//! The code: its amount, and the features that make a function more expensive to compile than its bytes show.
//!
//! A compiler is about linear in operators, and worse than linear in two things: the length of one function,
//! in which everything may live at once, and locals that many blocks might have changed, since each block
//! then takes each of them anew. So lengths count squared, and blocks count times locals.

use wasmparser::{BlockType, CompositeInnerType, FunctionBody, Operator, TypeSectionReader};

use super::{Refusal, items, limits, malformed};

/// Weight of a call beside its bytes, in bytes of ordinary code, as all weights here. A call hands over as
/// many values as its type has.
const CALL_WEIGHT: u64 = 8;
/// Weight of an operator that becomes a call into the host, or a look at a table with a branch or two.
const HOST_CALL_WEIGHT: u64 = 16;
/// Weight of a loop: each one asks whether the call is over its limit.
const LOOP_WEIGHT: u64 = 48;
/// Weight of a block with the type of a function: it takes and gives as many values; compilers of languages
/// hardly make any.
const TYPED_BLOCK_WEIGHT: u64 = 256;

/// Counts over all functions so far.
#[derive(Default)]
pub(super) struct Code {
    weight: u64,
    /// Sum of the squared weights, in bytes².
    squares: u64,
    targets: u64,
    merges: u64,
}

impl Code {
    pub(super) fn note(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let mut locals = 0;
        for declared in body.get_locals_reader().map_err(malformed)? {
            let (count, _) = declared.map_err(malformed)?;
            limits::LOCALS.add(&mut locals, count as usize)?;
        }
        let mut weight = body.range().len() as u64 + locals;
        let mut blocks = Blocks::default();
        let mut operators = body.get_operators_reader().map_err(malformed)?;
        while !operators.eof() {
            let operator = operators.read().map_err(malformed)?;
            if let Operator::BrTable { targets } = &operator {
                limits::TARGETS.add(&mut self.targets, targets.len() as usize)?;
            }
            weight += blocks.note(&operator)? + extra_weight(&operator);
        }
        limits::BODY_WEIGHT.check(weight)?;
        limits::CODE_WEIGHT.add(&mut self.weight, weight as usize)?;
        self.squares = self.squares.saturating_add(weight.saturating_mul(weight));
        limits::LONG_CODE.check(self.squares >> 20)?;
        self.merges = self.merges.saturating_add(blocks.count.saturating_mul(locals));
        limits::MERGES.check(self.merges)
    }
}

/// Blocks of one function: their count, and for each open one whether it is a loop.
#[derive(Default)]
struct Blocks {
    count: u64,
    open: Vec<bool>,
    loops: u64,
}

impl Blocks {
    /// Notes the begin or end of a block, and returns its weight.
    fn note(&mut self, operator: &Operator<'_>) -> Result<u64, Refusal> {
        let (is_loop, kind) = match operator {
            Operator::Block { blockty } | Operator::If { blockty } => (false, blockty),
            Operator::Loop { blockty } => (true, blockty),
            Operator::End => {
                let ended = self.open.pop();
                self.loops -= u64::from(ended == Some(true));
                return Ok(0);
            }
            _ => return Ok(0),
        };
        self.open.push(is_loop);
        self.count += 1;
        self.loops += u64::from(is_loop);
        limits::LOOP_DEPTH.check(self.loops)?;
        let typed = if matches!(kind, BlockType::FuncType(_)) { TYPED_BLOCK_WEIGHT } else { 0 };
        Ok(typed + if is_loop { LOOP_WEIGHT } else { 0 })
    }
}

fn extra_weight(operator: &Operator<'_>) -> u64 {
    match operator {
        Operator::Call { .. } => CALL_WEIGHT,
        Operator::CallIndirect { .. }
        | Operator::MemoryGrow { .. }
        | Operator::MemoryFill { .. }
        | Operator::MemoryCopy { .. }
        | Operator::MemoryInit { .. }
        | Operator::DataDrop { .. }
        | Operator::ElemDrop { .. }
        | Operator::RefFunc { .. }
        | Operator::TableCopy { .. }
        | Operator::TableFill { .. }
        | Operator::TableGet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableInit { .. }
        | Operator::TableSet { .. } => HOST_CALL_WEIGHT,
        _ => 0,
    }
}

/// Checks the types of functions: a call or a block of few bytes may have as many values as its type says.
pub(super) fn check_types(types: TypeSectionReader<'_>) -> Result<(), Refusal> {
    for group in items(types) {
        for subtype in group?.types() {
            if let CompositeInnerType::Func(function) = &subtype.composite_type.inner {
                limits::PARAMETERS.check(function.params().len() as u64)?;
                limits::RESULTS.check(function.results().len() as u64)?;
            }
        }
    }
    Ok(())
}
