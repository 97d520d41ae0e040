//! Code of blocks, loops and branches: its cost of compilation grows with the ways through it.

use wasm_encoder::Encode as _;

use super::straight::repeat;
use super::{ADD, BLOCK, BR_IF, BR_TABLE, DROP, END, GET, IF, LOOP, ONE, SET, WIDE};

pub(super) fn nested(body: &mut Vec<u8>, left: usize, opens: [u8; 2]) {
    let depth = left / 7;
    for _ in 0..depth {
        body.extend(opens);
        body.extend([GET, 0, BR_IF, 0]);
    }
    body.extend((0..depth).map(|_| END));
    body.extend([GET, 0]);
}

pub(super) fn nested_ifs(body: &mut Vec<u8>, left: usize) {
    let depth = left / 8;
    for _ in 0..depth {
        body.extend([GET, 0, IF[0], IF[1]]);
    }
    for _ in 0..depth {
        body.extend([GET, 0, SET, 1, END]);
    }
    body.extend([GET, 1]);
}

/// Changes each local within each loop, so that each loop carries all of them.
pub(super) fn loops_over_locals(body: &mut Vec<u8>, left: usize) {
    nested_over_locals(body, left, usize::MAX, 50);
}

/// Makes the same in nests that are as deep as the gate lets them be.
pub(super) fn nests_over_locals(body: &mut Vec<u8>, left: usize) {
    nested_over_locals(body, left, 16, 12);
}

pub(super) fn nested_over_locals(body: &mut Vec<u8>, left: usize, deepest: usize, locals: u32) {
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

pub(super) fn ifs_that_set(body: &mut Vec<u8>, left: usize) {
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

pub(super) fn diamonds(body: &mut Vec<u8>, left: usize) {
    // if (result i32) get 0 else get 1 end, set 0
    repeat(body, left, &[GET, 0, 0x04, 0x7f, GET, 0, 0x05, GET, 1, END, SET, 0]);
}

pub(super) fn loops(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[LOOP[0], LOOP[1], GET, 0, BR_IF, 0, END]);
}

pub(super) fn wide_blocks(body: &mut Vec<u8>, left: usize) {
    wide(body, left, &[LOOP[0], 1, GET, 0, BR_IF, 0, END]);
}

pub(super) fn wide_calls(body: &mut Vec<u8>, left: usize) {
    wide(body, left, &[0x10, 0]);
}

/// Takes many values and gives as many, again and again.
pub(super) fn wide(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    for _ in 0..WIDE {
        body.extend([GET, 0]);
    }
    for _ in 0..left.saturating_sub(WIDE * 3) / operators.len() {
        body.extend(operators);
    }
    body.extend((1..WIDE).map(|_| ADD));
}

pub(super) fn br_tables(body: &mut Vec<u8>, left: usize, targets: usize) {
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

/// Makes branch tables to each of many blocks.
pub(super) fn br_table_over_blocks(body: &mut Vec<u8>, left: usize) {
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

/// Gives each local another value in each branch, and uses all of them at the end of each block.
pub(super) fn br_table_over_locals(body: &mut Vec<u8>, left: usize) {
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
        // The branch goes over several of the blocks that are still open.
        u32::try_from((depth - n - 1) / 2).unwrap_or(0).encode(body);
        body.push(END);
    }
    body.extend([GET, 3]);
}

/// Makes branches to many blocks that all take a value.
pub(super) fn br_table_of_values(body: &mut Vec<u8>, left: usize) {
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

pub(super) fn branches_out(body: &mut Vec<u8>, left: usize) {
    body.extend(BLOCK);
    for _ in 0..left / 4 {
        body.extend([GET, 0, BR_IF, 0]);
    }
    body.push(END);
    body.extend([GET, 0]);
}
