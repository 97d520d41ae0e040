//! One function after the other whose bodies are costly: each way fills functions of 60 KB, as many as it takes.
//!
//! The size counts bytes of code. What is costly in one function is far costlier in one that is longer, and a gate that
//! bounds each function alone is passed by many: so there are ways of both kinds.

use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, Encode as _, EntityType, Function, FunctionSection,
    GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType, Module, RefType, TableSection,
    TableType, TypeSection, ValType,
};

use super::{Costly, component};

/// The size of one function where the way is not about the size of functions.
const SOME: usize = 30_000;
/// The size of one ordinary function.
const ORDINARY: usize = 300;

/// As many values as the gate lets a function give.
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

/// A module of functions of `each` bytes whose bodies `fill` makes, `size` bytes in all.
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

/// Type 0 is what the functions have, type 1 that of a block or an imported function with many values.
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

/// Repeats the operators, which leave the stack as it was.
fn repeat(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    for _ in 0..left / operators.len() {
        body.extend(operators);
    }
    body.extend([GET, 0]);
}

/// Takes one value and gives one, again and again.
fn chain(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    body.extend([GET, 0]);
    for _ in 0..left / operators.len() {
        body.extend(operators);
    }
}

/// What a compiler of a language makes: arithmetic, loads and stores at offsets, a branch now and then, calls.
fn ordinary(body: &mut Vec<u8>, left: usize) {
    let operators = [
        &[GET, 0, GET, 1, ADD, TEE, 2][..],
        &[0x28, 2, 8, SET, 3],                         // local 3 = load(local 2 + 8)
        &[GET, 2, GET, 3, 0x41, 7, 0x74, 0x36, 2, 16], // store(local 2 + 16, local 3 << 7)
        &[GET, 3, 0x45, 0x04, 0x40],                   // if local 3 == 0
        &[GET, 0, 0x41, 12, 0x6b, SET, 1, END],
        &[BLOCK[0], BLOCK[1], GET, 1, GET, 2, 0x49, BR_IF, 0, GET, 3, 0x10, 1, SET, 0, END],
    ]
    .concat();
    repeat(body, left, &operators);
}

fn stores(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, 0x36, 2, 0]);
}

fn divisions(body: &mut Vec<u8>, left: usize) {
    body.extend([GET, 0, 0xac]);
    for _ in 0..left / 2 {
        // The value by itself, so that each needs one more byte only.
        body.extend([0x42, 3]);
    }
    for _ in 0..left / 2 {
        body.push(0x7f);
    }
    body.push(0xa7);
}

fn rounding(body: &mut Vec<u8>, left: usize) {
    body.extend([GET, 0, 0xb2]);
    body.extend((0..left).map(|_| 0x8e));
    body.push(0xa8);
}

fn fills(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, GET, 2, 0xfc, 11, 0]);
}

fn table_grows(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[0xd2, 1, GET, 0, 0xfc, 15, 0, DROP]);
}

/// Values that all live until the end.
fn live(body: &mut Vec<u8>, left: usize) {
    for n in 0..left / 6 {
        body.extend([GET, 0, 0x28, 2]);
        // Another address for each, so that no two are the same value.
        u32::try_from(n * 4).unwrap_or(0).encode(body);
    }
    body.extend((1..left / 6).map(|_| ADD));
}

fn live_locals(body: &mut Vec<u8>, left: usize) {
    let count = (left / 10).clamp(1, 1_000);
    let index = |body: &mut Vec<u8>, operator: u8, n: usize| {
        body.push(operator);
        u32::try_from(n % count).unwrap_or(0).encode(body);
    };
    for n in 0..left / 10 {
        index(body, GET, n);
        index(body, GET, n + 7);
        body.push(ADD);
        index(body, SET, n + 3);
    }
    body.extend([GET, 0]);
}

fn nested(body: &mut Vec<u8>, left: usize, opens: [u8; 2]) {
    let depth = left / 7;
    for _ in 0..depth {
        body.extend(opens);
        body.extend([GET, 0, BR_IF, 0]);
    }
    body.extend((0..depth).map(|_| END));
    body.extend([GET, 0]);
}

fn nested_ifs(body: &mut Vec<u8>, left: usize) {
    let depth = left / 8;
    for _ in 0..depth {
        body.extend([GET, 0, IF[0], IF[1]]);
    }
    for _ in 0..depth {
        body.extend([GET, 0, SET, 1, END]);
    }
    body.extend([GET, 1]);
}

/// Each local is changed within each loop, so that each loop carries all of them.
fn loops_over_locals(body: &mut Vec<u8>, left: usize) {
    nested_over_locals(body, left, usize::MAX, 50);
}

/// The same in nests that are as deep as the gate lets them be.
fn nests_over_locals(body: &mut Vec<u8>, left: usize) {
    nested_over_locals(body, left, 16, 12);
}

fn nested_over_locals(body: &mut Vec<u8>, left: usize, deepest: usize, locals: u32) {
    let depth = (left / 2 / 7).clamp(1, deepest);
    let mut done = 0;
    while done < left {
        let began = body.len();
        for _ in 0..depth {
            body.extend(LOOP);
        }
        for n in 0..locals {
            body.push(GET);
            n.encode(body);
            body.extend([0x41, 1, ADD, SET]);
            ((n + 1) % locals).encode(body);
        }
        for _ in 0..depth {
            body.extend([GET, 0, BR_IF, 0, END]);
        }
        done += body.len() - began;
    }
    body.extend([GET, 1]);
}

fn ifs_that_set(body: &mut Vec<u8>, left: usize) {
    let locals = 20.max(left / 200).min(1_000);
    for n in 0..left / 9 {
        body.extend([GET, 0, IF[0], IF[1], GET]);
        u32::try_from(n % 20).unwrap_or(0).encode(body);
        body.push(SET);
        u32::try_from((n * 7 + 1) % locals.min(20)).unwrap_or(0).encode(body);
        body.push(END);
    }
    body.extend([GET, 1]);
}

fn diamonds(body: &mut Vec<u8>, left: usize) {
    // if (result i32) get 0 else get 1 end, set 0
    repeat(body, left, &[GET, 0, 0x04, 0x7f, GET, 0, 0x05, GET, 1, END, SET, 0]);
}

fn loops(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[LOOP[0], LOOP[1], GET, 0, BR_IF, 0, END]);
}

fn wide_blocks(body: &mut Vec<u8>, left: usize) {
    wide(body, left, &[LOOP[0], 1, GET, 0, BR_IF, 0, END]);
}

fn wide_calls(body: &mut Vec<u8>, left: usize) {
    wide(body, left, &[0x10, 0]);
}

/// Takes many values and gives as many, again and again.
fn wide(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    for _ in 0..WIDE {
        body.extend([GET, 0]);
    }
    for _ in 0..left.saturating_sub(WIDE * 3) / operators.len() {
        body.extend(operators);
    }
    body.extend((1..WIDE).map(|_| ADD));
}

fn br_tables(body: &mut Vec<u8>, left: usize, targets: usize) {
    let targets = targets.min(left.saturating_sub(10));
    for _ in 0..left / (targets + 12) {
        body.extend([BLOCK, BLOCK].concat());
        body.extend([GET, 0, BR_TABLE]);
        u32::try_from(targets).unwrap_or(0).encode(body);
        body.extend((0..=targets).map(|n| u8::from(n % 2 == 1)));
        body.extend([END, END]);
    }
    body.extend([GET, 0]);
}

/// Branch tables to each of many blocks.
fn br_table_over_blocks(body: &mut Vec<u8>, left: usize) {
    let depth = left / 3 / 3;
    for _ in 0..depth {
        body.extend(BLOCK);
    }
    for _ in 0..3 {
        body.extend(BLOCK);
        body.extend([GET, 0, BR_TABLE]);
        u32::try_from(depth).unwrap_or(0).encode(body);
        for n in 0..=depth {
            u32::try_from(n).unwrap_or(0).encode(body);
        }
        body.push(END);
    }
    body.extend((0..depth).map(|_| END));
    body.extend([GET, 0]);
}

/// Each local has another value in each branch, and all of them are used at the end of each block.
fn br_table_over_locals(body: &mut Vec<u8>, left: usize) {
    let depth = (left / 3 / 10).max(1);
    for _ in 0..depth {
        body.extend(BLOCK);
    }
    body.extend([GET, 0, BR_TABLE]);
    u32::try_from(depth - 1).unwrap_or(0).encode(body);
    for n in 0..depth {
        u32::try_from(n).unwrap_or(0).encode(body);
    }
    body.push(END);
    for n in 1..depth {
        body.push(GET);
        u32::try_from(n % 400).unwrap_or(0).encode(body);
        body.extend(ONE);
        body.extend([ADD, SET]);
        u32::try_from((n + 1) % 400).unwrap_or(0).encode(body);
        body.extend([GET, 0, BR_IF]);
        // Over several of the blocks that are still open.
        u32::try_from((depth - n - 1) / 2).unwrap_or(0).encode(body);
        body.push(END);
    }
    body.extend([GET, 3]);
}

/// Branches to many blocks that all take a value.
fn br_table_of_values(body: &mut Vec<u8>, left: usize) {
    let depth = (left / 2 / 6).clamp(1, 1_000);
    for _ in 0..depth {
        body.extend([0x02, 0x7f]);
    }
    for _ in 0..(left / 2 / (depth * 2).max(1)).max(1) {
        body.extend([GET, 0, GET, 0, 0x02, 0x40, GET, 0, DROP, END]);
        body.extend([DROP, DROP]);
    }
    body.extend([GET, 0, GET, 0, BR_TABLE]);
    u32::try_from(depth - 1).unwrap_or(0).encode(body);
    for n in 0..depth {
        u32::try_from(n).unwrap_or(0).encode(body);
    }
    for _ in 0..depth {
        body.push(END);
    }
}

fn branches_out(body: &mut Vec<u8>, left: usize) {
    body.extend(BLOCK);
    for _ in 0..left / 4 {
        body.extend([GET, 0, BR_IF, 0]);
    }
    body.push(END);
    body.extend([GET, 0]);
}

fn selects(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, GET, 2, 0x1b, SET, 0]);
}

fn constants(body: &mut Vec<u8>, left: usize) {
    for n in 0..left / 8 {
        body.push(0x41);
        i32::try_from(n).unwrap_or(0).encode(body);
        body.extend([GET, 0, ADD, SET, 0]);
    }
    body.extend([GET, 0]);
}

fn unreachable(body: &mut Vec<u8>, left: usize) {
    body.push(0x00);
    body.extend((0..left).map(|_| ADD));
}
