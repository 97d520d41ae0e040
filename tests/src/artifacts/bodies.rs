//! Functions whose bodies are costly, one after the other: each way fills functions of 60 KB, as many as it
//! takes.
//!
//! The size counts bytes of code. What is costly in one function is far costlier in a longer one, and a gate
//! that bounds each function alone is passed by many: so there are ways of both kinds.

mod branches;
mod straight;

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, Function, FunctionSection, GlobalSection,
    GlobalType, ImportSection, MemorySection, MemoryType, Module, RefType, TableSection, TableType,
    TypeSection, ValType,
};

use self::branches::{
    br_table_of_values, br_table_over_blocks, br_table_over_locals, br_tables, branches_out, diamonds,
    ifs_that_set, loops, loops_over_locals, nested, nested_ifs, nests_over_locals, wide_blocks, wide_calls,
};
use self::straight::{
    chain, constants, divisions, fills, live, live_locals, ordinary, repeat, rounding, selects, stores,
    table_grows, unreachable,
};
use super::{Costly, component};

/// The size of one function where the way is not about the size of functions.
const SOME: usize = 30_000;
/// The size of one ordinary function.
const ORDINARY: usize = 300;

/// Number of values that the gate lets a function give at most.
const WIDE: usize = 8;

const GET: u8 = 0x20;
const SET: u8 = 0x21;
const TEE: u8 = 0x22;
const DROP: u8 = 0x1a;
const BLOCK: [u8; 2] = [0x02, 0x40];
const LOOP: [u8; 2] = [0x03, 0x40];
const IF: [u8; 2] = [0x04, 0x40];
const END: u8 = 0x0b;
const BR_IF: u8 = 0x0d;
const BR_TABLE: u8 = 0x0e;
const ONE: [u8; 2] = [0x41, 1];
const ADD: u8 = 0x6a;

pub(super) const ALL: &[Costly] = &[
    Costly::new("ordinary functions", |size| filled(size, ORDINARY, 4, ordinary)),
    Costly::new("short functions of loads", |size| {
        filled(size, ORDINARY, 4, |body, left| chain(body, left, &[0x28, 2, 0]))
    }),
    Costly::new("short functions of conversions", |size| {
        filled(size, ORDINARY, 4, |body, left| chain(body, left, &[0xb2, 0xa8]))
    }),
    Costly::new("short functions of memory.grow", |size| {
        filled(size, ORDINARY, 4, |body, left| chain(body, left, &[0x40, 0]))
    }),
    Costly::new("short functions of calls", |size| {
        filled(size, ORDINARY, 4, |body, left| chain(body, left, &[0x10, 1]))
    }),
    Costly::new("short functions of live values", |size| filled(size, ORDINARY, 4, live)),
    Costly::new("short functions of loops", |size| filled(size, ORDINARY, 4, loops)),
    Costly::new("short functions of calls of many values", |size| filled(size, ORDINARY, 4, wide_calls)),
    Costly::new("short functions of blocks of many values", |size| filled(size, ORDINARY, 4, wide_blocks)),
    Costly::new("short functions of rounding", |size| filled(size, ORDINARY, 4, rounding)),
    Costly::new("short functions of constants", |size| filled(size, ORDINARY, 4, constants)),
    Costly::new("short functions of diamonds", |size| filled(size, ORDINARY, 4, diamonds)),
    Costly::new("short functions of br_tables", |size| {
        filled(size, ORDINARY, 4, |body, left| br_tables(body, left, 3))
    }),
    Costly::new("short functions of indirect calls", |size| {
        filled(size, ORDINARY, 4, |body, left| chain(body, left, &[GET, 0, 0x11, 0, 0]))
    }),
    Costly::new("short functions of table.grow", |size| filled(size, ORDINARY, 4, table_grows)),
    Costly::new("middling functions of calls of many values", |size| filled(size, 2_000, 4, wide_calls)),
    Costly::new("middling functions of conversions", |size| {
        filled(size, 2_000, 4, |body, left| chain(body, left, &[0xb2, 0xa8]))
    }),
    Costly::new("functions of middling length", |size| filled(size, 2_000, 4, ordinary)),
    Costly::new("middling functions of live values", |size| filled(size, 2_000, 4, live)),
    Costly::new("long functions", |size| filled(size, SOME, 4, ordinary)),
    Costly::new("one function", |size| filled(size, size as usize, 4, ordinary)),
    Costly::new("loads", |size| filled(size, SOME, 4, |body, left| chain(body, left, &[0x28, 2, 0]))),
    Costly::new("one function of loads", |size| {
        filled(size, size as usize, 4, |body, left| chain(body, left, &[0x28, 2, 0]))
    }),
    Costly::new("stores", |size| filled(size, SOME, 4, stores)),
    Costly::new("i64 divisions", |size| filled(size, SOME, 4, divisions)),
    Costly::new("conversions", |size| filled(size, SOME, 4, |body, left| chain(body, left, &[0xb2, 0xa8]))),
    Costly::new("saturating conversions", |size| {
        filled(size, SOME, 4, |body, left| chain(body, left, &[0xb2, 0xfc, 0]))
    }),
    Costly::new("rounding", |size| filled(size, SOME, 4, rounding)),
    Costly::new("memory.grow", |size| filled(size, SOME, 4, |body, left| chain(body, left, &[0x40, 0]))),
    Costly::new("memory.fill", |size| filled(size, SOME, 4, fills)),
    Costly::new("table.grow", |size| filled(size, SOME, 4, table_grows)),
    Costly::new("indirect calls", |size| {
        filled(size, SOME, 4, |body, left| chain(body, left, &[GET, 0, 0x11, 0, 0]))
    }),
    Costly::new("calls", |size| filled(size, SOME, 4, |body, left| chain(body, left, &[0x10, 1]))),
    Costly::new("calls of many values", |size| filled(size, SOME, 4, wide_calls)),
    Costly::new("live values", |size| filled(size, SOME, 4, live)),
    Costly::new("one function of live values", |size| filled(size, size as usize, 4, live)),
    Costly::new("live locals", |size| filled(size, SOME, 1_000, live_locals)),
    Costly::new("unused locals", |size| filled(size, 200, 1_000, |body, left| repeat(body, left, &[0x01]))),
    Costly::new("nested blocks", |size| filled(size, SOME, 4, |body, left| nested(body, left, BLOCK))),
    Costly::new("nested loops", |size| filled(size, SOME, 4, |body, left| nested(body, left, LOOP))),
    Costly::new("nested ifs", |size| filled(size, SOME, 4, nested_ifs)),
    Costly::new("one function of nested blocks", |size| {
        filled(size, size as usize, 4, |body, left| nested(body, left, BLOCK))
    }),
    Costly::new("loops over locals", |size| filled(size, SOME, 1_000, loops_over_locals)),
    Costly::new("loops over few locals", |size| filled(size, SOME, 50, loops_over_locals)),
    Costly::new("nests of loops over locals", |size| filled(size, SOME, 12, nests_over_locals)),
    Costly::new("short nests of loops over locals", |size| filled(size, 1_000, 12, nests_over_locals)),
    Costly::new("ifs that set locals", |size| filled(size, SOME, 1_000, ifs_that_set)),
    Costly::new("ifs that set few locals", |size| filled(size, SOME, 20, ifs_that_set)),
    Costly::new("diamonds", |size| filled(size, SOME, 4, diamonds)),
    Costly::new("loops in a row", |size| filled(size, SOME, 4, loops)),
    Costly::new("blocks of many values", |size| filled(size, SOME, 4, wide_blocks)),
    Costly::new("br_table", |size| filled(size, SOME, 4, |body, left| br_tables(body, left, 10_000))),
    Costly::new("small br_tables", |size| filled(size, SOME, 4, |body, left| br_tables(body, left, 3))),
    Costly::new("br_table over blocks", |size| filled(size, SOME, 4, br_table_over_blocks)),
    Costly::new("br_table over locals", |size| filled(size, SOME, 400, br_table_over_locals)),
    Costly::new("br_table of values", |size| filled(size, SOME, 4, br_table_of_values)),
    Costly::new("branches out", |size| filled(size, SOME, 4, branches_out)),
    Costly::new("selects", |size| filled(size, SOME, 4, selects)),
    Costly::new("globals", |size| {
        filled(size, SOME, 4, |body, left| repeat(body, left, &[0x23, 0, 0x24, 0]))
    }),
    Costly::new("constants", |size| filled(size, SOME, 4, constants)),
    Costly::new("unreachable code", |size| filled(size, SOME, 4, unreachable)),
];

/// Returns a module of functions of `each` bytes whose bodies `fill` makes, `size` bytes in all.
fn filled(size: u32, each: usize, locals: u32, fill: fn(&mut Vec<u8>, usize)) -> Vec<u8> {
    let count = (size as usize).div_ceil(each.max(1)).max(1);
    let each = (size as usize / count).max(20);
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    for _ in 0..count {
        functions.function(0);
        let mut body = Vec::with_capacity(each + 100);
        fill(&mut body, each);
        body.push(END);
        let mut function = Function::new([(locals, ValType::I32)]);
        function.raw(body);
        code.function(&function);
    }
    module(&functions, &code)
}

/// Returns a module whose type 0 is what the functions have, and type 1 that of a block or an imported
/// function with many values.
fn module(functions: &FunctionSection, code: &CodeSection) -> Vec<u8> {
    let many = [ValType::I32; WIDE];
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function(many, many);
    let mut imports = ImportSection::new();
    imports.import("m", "wide", EntityType::Function(1));
    let mut tables = TableSection::new();
    let table = |maximum| TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 10,
        maximum,
        shared: false,
    };
    tables.table(table(None));
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut globals = GlobalSection::new();
    let global = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
    globals.global(global, &ConstExpr::i32_const(0));
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions([1].as_slice().into()));
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(functions)
        .section(&tables)
        .section(&memories)
        .section(&globals)
        .section(&elements)
        .section(code);
    component(&module)
}
