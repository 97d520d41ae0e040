//! A look into the linear memories of running guests from outside, for what must never be in them.
//!
//! wasmtime's component model gives no access to a guest's memory, so this goes by what the kernel knows of
//! the process. A guest of the tests carries a marker that it computes when it runs; any mapping that holds
//! the marker is a guest's memory. The marker never stands in the host's own memory, but for the moment of a
//! scan in a buffer that is wiped. So nothing here may keep a marker laid bare, or a copy of what it has
//! read.

use std::fs::{self, File};
use std::io::{self, BufRead as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::param::page_size;

/// The byte that disguises a marker outside a guest.
const DISGUISE: u8 = 0x5a;
/// The half of the marker that all guests share, disguised. `tests/hostile/src/marker.rs` has it as well.
const SHARED: [u8; 8] = [0xd2, 0x91, 0xc7, 0xb3, 0x8c, 0xe5, 0xa9, 0xf4];
/// Maximum memory of a guest; what is larger is the host's own.
const MAX_MEMORY_BYTES: usize = 16 << 20;
/// A page of WebAssembly.
const PAGE_BYTES: usize = 64 << 10;
/// Length of the part at either end of a text that is looked for: a part of a secret is as bad as the whole.
const PART_BYTES: usize = 16;

/// A marker that tells the memories of one guest apart from those of any other.
#[derive(Clone, Debug)]
pub struct Marker(String);

/// The result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Number of memories that had the marker.
    pub memories: usize,
    /// Their size together.
    pub bytes: usize,
    /// The texts that are in them, by index.
    pub found: Vec<usize>,
}

impl Default for Marker {
    fn default() -> Self {
        Self::new()
    }
}

impl Marker {
    /// Creates a marker that no other guest of this process has.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self(format!("{:08x}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns the half that is this guest's own, for the setting `mark` of `tests/hostile`.
    pub fn disguised(&self) -> &str {
        &self.0
    }

    /// Returns the whole, as a string literal of the text format.
    pub(crate) fn disguised_in_wat(&self) -> String {
        SHARED.iter().chain(self.0.as_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
    }

    /// Returns whether the marker stands in these bytes.
    fn is_in(&self, bytes: &[u8]) -> bool {
        let first = SHARED[0] ^ DISGUISE;
        positions(bytes, first).any(|at| {
            let disguised = SHARED.iter().chain(self.0.as_bytes());
            let read = bytes[at..].iter().take(SHARED.len() + self.0.len());
            read.len() == 16 && read.zip(disguised).all(|(read, disguised)| read ^ DISGUISE == *disguised)
        })
    }
}

/// Looks for texts in every guest memory that has the marker.
///
/// # Errors
///
/// If the kernel does not let the process look at itself.
pub fn scan(marker: &Marker, texts: &[String]) -> io::Result<Scan> {
    // One scan at a time, so that no scan ever sees another one's buffer.
    static BUFFER: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    let mut buffer = BUFFER.lock().unwrap_or_else(PoisonError::into_inner);
    if buffer.is_empty() {
        *buffer = vec![0; MAX_MEMORY_BYTES];
    }
    let own = Own { memory: File::open("/proc/self/mem")?, pages: File::open("/proc/self/pagemap")? };
    let mut scan = Scan::default();
    for region in regions(&fs::read_to_string("/proc/self/smaps")?) {
        let bytes = region.len();
        // It may have been unmapped since: then it belonged to another test.
        let read = own.read(region, &mut buffer).unwrap_or_default();
        let is_there = |wanted: &dyn Fn(&[u8]) -> bool| read.iter().any(|run| wanted(&buffer[run.clone()]));
        if is_there(&|bytes| marker.is_in(bytes)) {
            scan.memories += 1;
            scan.bytes += bytes;
            scan.found.extend(
                (0..texts.len()).filter(|index| is_there(&|bytes| is_in(texts[*index].as_bytes(), bytes))),
            );
        }
        let end = read.last().map_or(0, |run| run.end);
        buffer[..end].fill(0);
    }
    Ok(scan)
}

/// The process, as the kernel shows it.
struct Own {
    memory: File,
    pages: File,
}

impl Own {
    /// Reads those pages of a region that have ever been touched, and returns which parts of the buffer
    /// belong together. A page that was never touched holds what its component says, or nothing.
    fn read(&self, region: Range<usize>, buffer: &mut [u8]) -> io::Result<Vec<Range<usize>>> {
        const IS_PRESENT_OR_SWAPPED: u64 = 0b11 << 62;
        let page = page_size();
        let mut entries = vec![0; region.len() / page * 8];
        self.pages.read_exact_at(&mut entries, (region.start / page * 8) as u64)?;
        let mut runs: Vec<Range<usize>> = Vec::new();
        let (mut end, mut touched_before) = (0, false);
        for (entry, at) in entries.chunks_exact(8).zip(region.step_by(page)) {
            let entry = entry.try_into().map(u64::from_ne_bytes).unwrap_or_default();
            let touched = entry & IS_PRESENT_OR_SWAPPED != 0;
            if touched {
                self.memory.read_exact_at(&mut buffer[end..end + page], at as u64)?;
                match runs.last_mut() {
                    Some(run) if touched_before => run.end = end + page,
                    _ => runs.push(end..end + page),
                }
                end += page;
            }
            touched_before = touched;
        }
        Ok(runs)
    }
}

/// Returns the places that may be a guest's memory: private and writable, whole pages of WebAssembly, not too
/// large, and with inaccessible address space behind it, where it could have grown. Mappings that touch are
/// one, because the kernel keeps the part that came from the component's image apart from the rest.
fn regions(smaps: &str) -> Vec<Range<usize>> {
    let mut regions: Vec<(Range<usize>, bool)> = Vec::new();
    for (range, mapping) in mappings(smaps) {
        match (regions.last_mut(), mapping) {
            (Some((last, _)), Mapping::Candidate) if last.end == range.start => last.end = range.end,
            (_, Mapping::Candidate) => regions.push((range, false)),
            (Some((last, guarded)), Mapping::Guard) => *guarded |= last.end == range.start,
            _ => {}
        }
    }
    let good =
        |region: &Range<usize>| region.len() <= MAX_MEMORY_BYTES && region.len().is_multiple_of(PAGE_BYTES);
    regions
        .into_iter()
        .filter(|(region, guarded)| *guarded && good(region))
        .map(|(region, _)| region)
        .collect()
}

enum Mapping {
    Candidate,
    Guard,
    Other,
}

/// Parses `/proc/self/smaps`: a line such as `7f0000000000-7f0000010000 rw-p 00000000 00:01 1
/// /memfd:wasm-memory-image (deleted)`, and the lines about it, of which `VmFlags:` is the last.
fn mappings(smaps: &str) -> impl Iterator<Item = (Range<usize>, Mapping)> {
    let mut head = "";
    smaps.lines().filter_map(move |line| match line.strip_prefix("VmFlags:") {
        Some(flags) => mapping(head, flags),
        None => {
            // Every other line about a mapping begins with a word and a colon.
            if !line.split_ascii_whitespace().next().is_some_and(|word| word.ends_with(':')) {
                head = line;
            }
            None
        }
    })
}

/// Returns the kind of a mapping. Address space that wasmtime reserves is marked as such (`nr`), where the
/// kernel overcommits; a buffer or a thread's stack that happens to lie below a memory, and touches it, is
/// not. (glibc's arenas are, and end with a guard of their own.)
fn mapping(head: &str, flags: &str) -> Option<(Range<usize>, Mapping)> {
    let mut words = head.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let rights = words.next()?;
    let name = words.nth(3).unwrap_or_default();
    let address = |text| usize::from_str_radix(text, 16).ok();
    let is_reserved = flags.split_ascii_whitespace().any(|flag| flag == "nr");
    let mapping = match rights {
        "rw-p" if name.starts_with("/memfd:") || name.is_empty() && is_reserved => Mapping::Candidate,
        "---p" => Mapping::Guard,
        _ => Mapping::Other,
    };
    Some((address(start)?..address(end)?, mapping))
}

/// Returns whether either end of a text stands in these bytes.
fn is_in(text: &[u8], bytes: &[u8]) -> bool {
    let part = text.len().min(PART_BYTES);
    let is_there = |wanted: &[u8]| positions(bytes, wanted[0]).any(|at| bytes[at..].starts_with(wanted));
    part > 0 && (is_there(&text[..part]) || is_there(&text[text.len() - part..]))
}

/// Returns the positions of a byte, as fast in a debug build as in any other: the search itself is the
/// standard library's.
fn positions(bytes: &[u8], wanted: u8) -> impl Iterator<Item = usize> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let skipped = (&bytes[at..]).skip_until(wanted).unwrap_or_default();
        let found = (at + skipped).checked_sub(1).filter(|last| skipped > 0 && bytes[*last] == wanted);
        at += skipped;
        found
    })
}

#[cfg(test)]
mod tests {
    use super::regions;

    #[test]
    fn a_buffer_that_touches_a_memory_is_no_part_of_it() {
        let smaps = "7f0000000000-7f0000101000 rw-p 00000000 00:00 0\nRss: 8 kB\nVmFlags: rd wr mr mw me ac\n\
             7f0000101000-7f0000111000 rw-p 00000000 00:00 0\nRss: 8 kB\nVmFlags: rd wr mr mw me nr\n\
             7f0000111000-7f0000113000 rw-p 00000000 00:01 1 /memfd:wasm-memory-image (deleted)\n\
             VmFlags: rd wr mr mw me ac\n\
             7f0000113000-7f0000121000 rw-p 00000000 00:00 0\nVmFlags: rd wr mr mw me nr\n\
             7f0000121000-7f0000200000 ---p 00000000 00:00 0\nVmFlags: mr mw me nr\n";
        assert_eq!(regions(smaps).as_slice(), &[0x7f00_0010_1000..0x7f00_0012_1000; 1]);
    }
}
