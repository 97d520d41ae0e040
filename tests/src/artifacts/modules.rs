//! Modules that are costly outside of their functions' bodies: much of everything that a module has a section
//! for.
//!
//! The size counts items. Bodies are as short as they can be.

use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection, MemorySection,
    MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use super::{Costly, component};

pub(super) const ALL: &[Costly] = &[
    Costly::new("functions", |size| functions(size, false, false)),
    Costly::new("exported functions", |size| functions(size, true, false)),
    Costly::new("exported functions of their own types", |size| functions(size, true, true)),
    Costly::new("types", types),
    Costly::new("imports", imports),
    Costly::new("globals of a module", globals),
    Costly::new("exports", exports),
    Costly::new("data segments", data),
    Costly::new("scattered data segments", scattered),
    Costly::new("a long memory", long_memory),
    Costly::new("element segments", elements),
    Costly::new("a long element segment", long_elements),
    Costly::new("a long passive element segment", long_passive_elements),
    Costly::new("a long table", long_table),
    Costly::new("tables", tables),
    Costly::new("constant expressions", constants),
    Costly::new("a long offset of data", long_offset),
    Costly::new("a custom section", custom),
    Costly::new("custom sections", customs),
];

/// Returns a signature that is different for each number below 4^n or so.
fn signature(n: u32) -> Vec<ValType> {
    let kinds = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];
    (0..8).map(|digit| kinds[(n >> (2 * digit)) as usize % 4]).collect()
}

fn functions(size: u32, exported: bool, own_types: bool) -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    let (mut exports, mut code) = (ExportSection::new(), CodeSection::new());
    for n in 0..size {
        if own_types || n == 0 {
            types.ty().function(if own_types { signature(n) } else { Vec::new() }, []);
        }
        functions.function(if own_types { n } else { 0 });
        if exported {
            exports.export(&format!("{n:x}"), ExportKind::Func, n);
        }
        let mut body = Function::new([]);
        body.raw([0x0b]);
        code.function(&body);
    }
    let mut module = Module::new();
    module.section(&types).section(&functions);
    if exported {
        module.section(&exports);
    }
    module.section(&code);
    component(&module)
}

fn types(size: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    for n in 0..size {
        types.ty().function(signature(n), []);
    }
    let mut module = Module::new();
    module.section(&types);
    component(&module)
}

fn imports(size: u32) -> Vec<u8> {
    // There are as many types as there may be, so that the imports are what is refused.
    let kinds = size.clamp(1, 1_000);
    let (mut types, mut imports) = (TypeSection::new(), ImportSection::new());
    for n in 0..kinds {
        types.ty().function(signature(n), []);
    }
    for n in 0..size {
        imports.import("m", &format!("{n:x}"), EntityType::Function(n % kinds));
    }
    let mut module = Module::new();
    module.section(&types).section(&imports);
    component(&module)
}

const GLOBAL: GlobalType = GlobalType { val_type: ValType::I32, mutable: true, shared: false };

fn globals(size: u32) -> Vec<u8> {
    let mut globals = GlobalSection::new();
    for _ in 0..size {
        globals.global(GLOBAL, &ConstExpr::i32_const(1));
    }
    let mut module = Module::new();
    module.section(&globals);
    component(&module)
}

fn exports(size: u32) -> Vec<u8> {
    let (mut globals, mut exports) = (GlobalSection::new(), ExportSection::new());
    globals.global(GLOBAL, &ConstExpr::i32_const(1));
    for n in 0..size {
        exports.export(&format!("{n:x}"), ExportKind::Global, 0);
    }
    let mut module = Module::new();
    module.section(&globals).section(&exports);
    component(&module)
}

fn with_memory(pages: u64, data: &DataSection) -> Vec<u8> {
    let mut memories = MemorySection::new();
    let memory =
        MemoryType { minimum: pages, maximum: None, memory64: false, shared: false, page_size_log2: None };
    memories.memory(memory);
    let mut module = Module::new();
    module.section(&memories).section(data);
    component(&module)
}

fn data(size: u32) -> Vec<u8> {
    let mut data = DataSection::new();
    for n in 0..size {
        data.active(0, &ConstExpr::i32_const(i32::try_from(n).unwrap_or(0)), [1]);
    }
    with_memory(64, &data)
}

fn scattered(size: u32) -> Vec<u8> {
    let mut data = DataSection::new();
    for n in 0..size {
        let at = i32::try_from(u64::from(n) * 2_654_435_761 % (4 << 20)).unwrap_or(0);
        data.active(0, &ConstExpr::i32_const(at), [1, 2]);
    }
    with_memory(64, &data)
}

/// Makes one byte at the far end.
fn long_memory(size: u32) -> Vec<u8> {
    let mut data = DataSection::new();
    let end = u64::from(size) * 65_536;
    data.active(0, &ConstExpr::i32_const(0), [1]);
    data.active(0, &ConstExpr::i32_const(u32::try_from(end - 1).unwrap_or(u32::MAX).cast_signed()), [1]);
    with_memory(u64::from(size), &data)
}

fn with_table(minimum: u64, count: u32, elements: &ElementSection) -> Vec<u8> {
    let (mut types, mut functions) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([], []);
    functions.function(0);
    let mut tables = TableSection::new();
    for _ in 0..count {
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum,
            maximum: None,
            shared: false,
        });
    }
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.raw([0x0b]);
    code.function(&body);
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&tables).section(elements).section(&code);
    component(&module)
}

fn elements(size: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    for n in 0..size {
        let at = i32::try_from(n % 1_000).unwrap_or(0);
        elements.active(None, &ConstExpr::i32_const(at), Elements::Functions([0].as_slice().into()));
    }
    with_table(1_000, 1, &elements)
}

fn long_elements(size: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    let all = vec![0; size as usize];
    elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
    with_table(u64::from(size), 1, &elements)
}

/// Makes segments that the instantiation of the module creates one by one, whether they are used or not.
fn long_passive_elements(size: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    let all = vec![0; size as usize];
    elements.passive(Elements::Functions(all.into()));
    with_table(1, 1, &elements)
}

/// Makes one element at the far end.
fn long_table(size: u32) -> Vec<u8> {
    let mut elements = ElementSection::new();
    let last = i32::try_from(size - 1).unwrap_or(0);
    elements.active(None, &ConstExpr::i32_const(last), Elements::Functions([0].as_slice().into()));
    with_table(u64::from(size), 1, &elements)
}

fn tables(size: u32) -> Vec<u8> {
    with_table(1_000, size, &ElementSection::new())
}

/// Makes one sum of many constants.
fn constants(size: u32) -> Vec<u8> {
    let mut sum = vec![0x41, 1];
    for _ in 0..size {
        sum.extend([0x41, 1, 0x6a]);
    }
    let mut globals = GlobalSection::new();
    globals.global(GLOBAL, &ConstExpr::raw(sum));
    let mut module = Module::new();
    module.section(&globals);
    component(&module)
}

/// Makes one sum of many constants, which is where data begins.
fn long_offset(size: u32) -> Vec<u8> {
    let mut sum = vec![0x41, 0];
    for _ in 0..size {
        sum.extend([0x41, 1, 0x6a]);
    }
    let (mut memories, mut data) = (MemorySection::new(), DataSection::new());
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    data.active(0, &ConstExpr::raw(sum), [0]);
    let mut module = Module::new();
    module.section(&memories).section(&data);
    component(&module)
}

fn custom(size: u32) -> Vec<u8> {
    let mut module = Module::new();
    let data = vec![1; size as usize];
    module.section(&CustomSection { name: "name".into(), data: data.as_slice().into() });
    component(&module)
}

fn customs(size: u32) -> Vec<u8> {
    let mut module = Module::new();
    for _ in 0..size {
        module.section(&CustomSection { name: "c".into(), data: [1].as_slice().into() });
    }
    component(&module)
}
