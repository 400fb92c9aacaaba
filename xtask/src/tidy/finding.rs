//! The findings: places in the workspace that break a rule.
//!
//! mod.rs applies the rules and prints the findings.

use std::fmt;

/// The rule that a finding breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    ModuleDoc,
    FileLength,
    CommentWidth,
    Sleep,
    Subject,
    CoreManifest,
    ImportCycle,
    Detour,
    Layer,
    Reexport,
    TupleParameter,
    Word,
    Name,
    DocumentWidth,
}

impl Rule {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::ModuleDoc => {
                "a file opens with a `//!` doc that says what belongs in it and what does not"
            }
            Self::FileLength => "a source file has at most 500 lines: split it by subject",
            Self::CommentWidth => "a line with a comment has at most 100 characters",
            Self::Sleep => "a test waits for an event, never for a fixed time",
            Self::Subject => "only schemas/ writes subjects; other code calls it",
            Self::CoreManifest => "core/ depends on no runtime, network, disk or random numbers",
            Self::ImportCycle => "the files of a crate do not import each other in a cycle",
            Self::Detour => {
                "a file imports an item from its module, not from a re-export above the file"
            }
            Self::Layer => "imports point down in the layers that ARCHITECTURE.md states",
            Self::Reexport => {
                "a `pub use` serves at least two files; otherwise, import the item from its module"
            }
            Self::TupleParameter => {
                "a function takes no tuple: use separate parameters or a struct with named fields, or \
                 say why not in a comment above it: `// tidy: tuple parameter: REASON`"
            }
            Self::Word => {
                "comments and documents are in plain English (the list: xtask/src/tidy/words.rs)"
            }
            Self::Name => "names are in plain English (the list: xtask/src/tidy/words.rs)",
            Self::DocumentWidth => {
                "documents wrap at 100 characters, except for tables, code and links"
            }
        }
    }
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    pub(super) file: String,
    /// The number of the line, counted from 1. 0 stands for the whole file.
    pub(super) line: usize,
    pub(super) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}
