//! Code without a branch of note: its cost of compilation grows with the values that live at once.

use wasm_encoder::Encode as _;

use super::{ADD, BLOCK, BR_IF, DROP, END, GET, SET, TEE};

/// Repeats the operators, which leave the stack as it was.
pub(super) fn repeat(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    for _ in 0..left / operators.len() {
        body.extend(operators);
    }
    body.extend([GET, 0]);
}

/// Takes one value and gives one, again and again.
pub(super) fn chain(body: &mut Vec<u8>, left: usize, operators: &[u8]) {
    body.extend([GET, 0]);
    for _ in 0..left / operators.len() {
        body.extend(operators);
    }
}

/// Makes what the compiler of a language makes: arithmetic, loads and stores at offsets, a branch now and
/// then, calls.
pub(super) fn ordinary(body: &mut Vec<u8>, left: usize) {
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

pub(super) fn stores(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, 0x36, 2, 0]);
}

pub(super) fn divisions(body: &mut Vec<u8>, left: usize) {
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

pub(super) fn rounding(body: &mut Vec<u8>, left: usize) {
    body.extend([GET, 0, 0xb2]);
    body.extend((0..left).map(|_| 0x8e));
    body.push(0xa8);
}

pub(super) fn fills(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, GET, 2, 0xfc, 11, 0]);
}

pub(super) fn table_grows(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[0xd2, 1, GET, 0, 0xfc, 15, 0, DROP]);
}

/// Makes values that all live until the end.
pub(super) fn live(body: &mut Vec<u8>, left: usize) {
    for n in 0..left / 6 {
        body.extend([GET, 0, 0x28, 2]);
        // Another address for each, so that no two are the same value.
        u32::try_from(n * 4).unwrap_or(0).encode(body);
    }
    body.extend((1..left / 6).map(|_| ADD));
}

pub(super) fn live_locals(body: &mut Vec<u8>, left: usize) {
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

pub(super) fn selects(body: &mut Vec<u8>, left: usize) {
    repeat(body, left, &[GET, 0, GET, 1, GET, 2, 0x1b, SET, 0]);
}

pub(super) fn constants(body: &mut Vec<u8>, left: usize) {
    for n in 0..left / 8 {
        body.push(0x41);
        i32::try_from(n).unwrap_or(0).encode(body);
        body.extend([GET, 0, ADD, SET, 0]);
    }
    body.extend([GET, 0]);
}

pub(super) fn unreachable(body: &mut Vec<u8>, left: usize) {
    body.push(0x00);
    body.extend((0..left).map(|_| ADD));
}
