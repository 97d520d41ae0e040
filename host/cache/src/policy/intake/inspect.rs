//! The contents of a component, examined before anything of it is compiled.
//!
//! A compiler takes as long as the code makes it take, and cannot be stopped. So the gate counts what makes
//! it slow, in one pass over the bytes, and refuses in words what is beyond the bounds of `limits.rs`. It
//! judges cost only: validity is for the compiler to decide, which comes after. A careless reader would break
//! this: no type of a component may be parsed here, nor anywhere before this, because that parser recurses as
//! deep as the bytes say.

mod body;
mod limits;

use wasmparser::CanonicalFunction::{Lift, Lower};
use wasmparser::{
    BinaryReaderError, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentTypeRef,
    ElementItems, Encoding, FromReader, Parser, Payload, SectionLimited,
};

const COMPONENT_HEADER: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE_HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// Reason for which a component is refused, for an operator.
type Refusal = String;

/// Refuses bytes that are no component, and a component that could take too long or too much memory to
/// compile.
pub(super) fn inspect(component: &[u8]) -> Result<(), Refusal> {
    check_header(component)?;
    let mut inspection = Inspection { bytes: component, ..Inspection::default() };
    for payload in Parser::new(0).parse_all(component) {
        inspection.note(payload.map_err(malformed)?)?;
    }
    Ok(())
}

fn check_header(bytes: &[u8]) -> Result<(), Refusal> {
    let reason = if bytes.starts_with(COMPONENT_HEADER) {
        return Ok(());
    } else if bytes.starts_with(MODULE_HEADER) {
        "it is a core WebAssembly module; expected a component: build it for the target wasm32-wasip2"
    } else if bytes.starts_with(b"\x7fELF") {
        "it is native or precompiled code; expected a WebAssembly component, which this host compiles itself"
    } else {
        "it does not begin like a WebAssembly component in the binary format"
    };
    Err(reason.into())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: BinaryReaderError) -> Refusal {
    format!("not a valid component: {}", crate::policy::printable::printable(&error.to_string()))
}

/// Counts so far, over the component and everything within it.
#[derive(Default)]
struct Inspection<'a> {
    bytes: &'a [u8],
    /// The modules and components that are open, the outermost first.
    open: Vec<OpenBody>,
    /// The weight of the heaviest component that has been closed.
    heaviest: u64,
    modules: u64,
    components: u64,
    instances: u64,
    module_bytes: u64,
    custom_bytes: u64,
    types: u64,
    imports: u64,
    functions: u64,
    memories: u64,
    tables: u64,
    exports: u64,
    segments: u64,
    elements: u64,
    globals: u64,
    canonical: u64,
    type_bytes: u64,
    code: body::Code,
}

enum OpenBody {
    Module,
    /// Weight of its sections and of what it instantiates, in bytes.
    Component(u64),
}

impl<'a> Inspection<'a> {
    fn note(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        match payload {
            Payload::Version { encoding, .. } => self.begin(encoding)?,
            Payload::End(_) => {
                if let Some(OpenBody::Component(weight)) = self.open.pop() {
                    self.heaviest = self.heaviest.max(weight);
                }
            }
            Payload::CustomSection(section) => {
                limits::CUSTOM_BYTES.add(&mut self.custom_bytes, section.range().len())?;
            }
            Payload::CodeSectionEntry(body) => self.code.note(&body)?,
            payload => match self.open.last() {
                Some(OpenBody::Component(_)) => self.note_in_component(payload)?,
                _ => self.note_in_module(payload)?,
            },
        }
        Ok(())
    }

    fn begin(&mut self, encoding: Encoding) -> Result<(), Refusal> {
        let (open, limit, found) = match encoding {
            Encoding::Module => (OpenBody::Module, &limits::MODULES, &mut self.modules),
            Encoding::Component => (OpenBody::Component(0), &limits::COMPONENTS, &mut self.components),
        };
        limit.add(found, 1)?;
        self.open.push(open);
        limits::DEPTH.check(self.open.len() as u64)
    }

    /// Counts everything in a module outside of its code.
    fn note_in_module(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        let beside_code = !matches!(payload, Payload::DataSection(_) | Payload::CodeSectionStart { .. });
        let bytes = payload.as_section().filter(|_| beside_code).map_or(0, |(_, range)| range.len());
        match payload {
            Payload::TypeSection(types) => {
                limits::TYPES.add(&mut self.types, types.count() as usize)?;
                body::check_types(types)?;
            }
            Payload::ImportSection(imports) => {
                limits::IMPORTS.add(&mut self.imports, imports.into_imports().count())?;
            }
            Payload::FunctionSection(functions) => {
                limits::FUNCTIONS.add(&mut self.functions, functions.count() as usize)?;
            }
            Payload::MemorySection(memories) => {
                limits::MEMORIES.add(&mut self.memories, memories.count() as usize)?;
                for memory in items(memories) {
                    limits::MEMORY_PAGES.check(memory?.initial)?;
                }
            }
            Payload::TableSection(tables) => {
                limits::TABLES.add(&mut self.tables, tables.count() as usize)?;
                for table in items(tables) {
                    limits::TABLE_ELEMENTS.check(table?.ty.initial)?;
                }
            }
            Payload::ExportSection(exports) => {
                limits::EXPORTS.add(&mut self.exports, exports.count() as usize)?;
            }
            Payload::DataSection(segments) => {
                limits::SEGMENTS.add(&mut self.segments, segments.count() as usize)?;
            }
            Payload::ElementSection(segments) => {
                limits::SEGMENTS.add(&mut self.segments, segments.count() as usize)?;
                for segment in items(segments) {
                    let elements = match segment?.items {
                        ElementItems::Functions(functions) => functions.count(),
                        ElementItems::Expressions(_, expressions) => expressions.count(),
                    };
                    limits::ELEMENTS.add(&mut self.elements, elements as usize)?;
                }
            }
            Payload::GlobalSection(globals) => {
                limits::GLOBALS.add(&mut self.globals, globals.count() as usize)?;
            }
            _ => {}
        }
        limits::MODULE_BYTES.add(&mut self.module_bytes, bytes)
    }

    /// Counts everything in a component outside of the modules and components within it.
    fn note_in_component(&mut self, payload: Payload<'a>) -> Result<(), Refusal> {
        if let Some((_, range)) = payload.as_section()
            && !matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. })
        {
            self.weigh(range.len() as u64)?;
            let section = self.bytes.get(range).unwrap_or_default();
            if matches!(payload, Payload::ComponentTypeSection(_)) {
                check_nesting(section)?;
                limits::TYPE_BYTES.add(&mut self.type_bytes, section.len())?;
            }
        }
        match payload {
            Payload::InstanceSection(instances) => {
                limits::INSTANCES.add(&mut self.instances, instances.count() as usize)?;
            }
            Payload::ComponentInstanceSection(instances) => {
                limits::INSTANCES.add(&mut self.instances, instances.count() as usize)?;
                for instance in items(instances) {
                    match instance? {
                        // Any of them: the instantiated component has been closed, or it would have no index
                        // yet.
                        ComponentInstance::Instantiate { .. } => self.weigh(self.heaviest)?,
                        ComponentInstance::FromExports(exports) => {
                            exports.iter().try_for_each(|export| refuse_handing_on(export.kind))?;
                        }
                    }
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in items(imports) {
                    if matches!(import?.ty, ComponentTypeRef::Component(_)) {
                        return Err(HANDED_ON.into());
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in items(exports) {
                    refuse_handing_on(export?.kind)?;
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in items(aliases) {
                    if let ComponentAlias::InstanceExport { kind, .. } = alias? {
                        refuse_handing_on(kind)?;
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                limits::CANONICAL.add(&mut self.canonical, functions.count() as usize)?;
                for function in items(functions) {
                    let function = function?;
                    if self.open.len() > 1 && matches!(function, Lift { .. } | Lower { .. }) {
                        return Err(COMPOSED.into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds to the weight of the innermost component.
    fn weigh(&mut self, bytes: u64) -> Result<(), Refusal> {
        if let Some(OpenBody::Component(weight)) = self.open.last_mut() {
            *weight = weight.saturating_add(bytes);
            limits::COMPONENT_BYTES.check(*weight)?;
        }
        Ok(())
    }
}

/// Refusal of a component that is handed on: another component that was closed before it could instantiate
/// it, which the weight would not show.
const HANDED_ON: &str =
    "it imports or exports a component; a policy hands on functions only: link it into one component";
/// Refusal of a composition: where one component lifts a function that another one lowers, the compiler makes
/// code of its own, out of the types.
const COMPOSED: &str =
    "it is composed of components that call each other; link the policy into one component";

fn refuse_handing_on(kind: ComponentExternalKind) -> Result<(), Refusal> {
    if kind == ComponentExternalKind::Component { Err(HANDED_ON.into()) } else { Ok(()) }
}

/// Checks the nesting of types. The parser of types recurses for a type within a type, which is declared by
/// these two bytes. A section in which they are rare cannot be deep.
fn check_nesting(section: &[u8]) -> Result<(), Refusal> {
    let nested = section.windows(2).filter(|pair| matches!(pair, [1, 0x41 | 0x42])).count();
    limits::NESTED_TYPES.check(nested as u64)
}

fn items<'a, T: FromReader<'a>>(
    section: SectionLimited<'a, T>,
) -> impl Iterator<Item = Result<T, Refusal>> + use<'a, T> {
    section.into_iter().map(|item| item.map_err(malformed))
}
