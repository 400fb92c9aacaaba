//! `cargo xtask prose`: prints a random sample of doc comments for a person to judge. A seed
//! determines the sample.
//!
//! This command does not judge the comments. The checks that a machine can do are in tidy/.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::run::{self, Failure};
use crate::source::files;
use crate::source::lines::{self, CommentKind, DocBlock};
use crate::workspace::Workspace;

/// The default number of doc comments to draw.
const DEFAULT_COUNT: usize = 100;

const USAGE: &str =
    "usage: cargo xtask prose --seed N [--count N] [PATH…], or cargo xtask prose --all [PATH…]";

#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// The seed of the sample. `None` prints every doc comment, ordered by path and line.
    seed: Option<u64>,
    count: usize,
    paths: Vec<PathBuf>,
}

/// A doc comment, prepared for printing.
struct Shown {
    /// `PATH:LINE`, relative to the workspace.
    place: String,
    marker: &'static str,
    text: Vec<String>,
    /// The line of code that the comment documents.
    code: String,
}

/// Prints the doc comments that the arguments select. The same seed draws the same comments from
/// the same files.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let mut comments = find(workspace, &options.paths)?;
    let total = comments.len();
    if let Some(seed) = options.seed {
        draw(&mut comments, seed, options.count);
    }
    let mut lines = Vec::new();
    for comment in &comments {
        lines.push(comment.place.clone());
        let text = comment.text.iter();
        lines.extend(text.map(|line| format!("    {}{line}", comment.marker)));
        lines.push(format!("    {}\n", comment.code));
    }
    lines.push(format!("{} of {total} doc comments", comments.len()));
    run::print(&lines.join("\n"))
}

fn parse(arguments: &[OsString]) -> Result<Options, Failure> {
    let mut options = Options {
        seed: None,
        count: DEFAULT_COUNT,
        paths: Vec::new(),
    };
    let mut all = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match &*argument.to_string_lossy() {
            "--all" => all = true,
            "--seed" => options.seed = Some(parse_number("--seed", arguments.next())?),
            "--count" => options.count = parse_number("--count", arguments.next())?,
            option if option.starts_with('-') => {
                return Err(Failure::usage(format!("no option `{option}`\n{USAGE}")));
            }
            _ => options.paths.push(argument.into()),
        }
    }
    if all == options.seed.is_some() {
        return Err(Failure::usage(format!(
            "`prose` takes either `--seed N` or `--all`\n{USAGE}"
        )));
    }
    Ok(options)
}

fn parse_number<N: std::str::FromStr>(
    option: &str,
    value: Option<&OsString>,
) -> Result<N, Failure> {
    value
        .and_then(|value| value.to_str()?.parse().ok())
        .ok_or_else(|| Failure::usage(format!("`{option}` takes a number\n{USAGE}")))
}

/// Returns the doc comments below `paths`, or in the whole workspace if `paths` is empty, ordered
/// by path and line.
fn find(workspace: &Workspace, paths: &[PathBuf]) -> Result<Vec<Shown>, Failure> {
    let mut found = Vec::new();
    if paths.is_empty() {
        found = files::find(&workspace.root, "rs")?;
    }
    for path in paths {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::new(format!("cannot find {}: {error}", path.display())))?;
        found.extend(files::find(&path, "rs")?);
    }
    found.sort();
    found.dedup();
    let mut comments = Vec::new();
    for file in found {
        let text = files::read(&file)?;
        let name = file.strip_prefix(&workspace.root).unwrap_or(&file);
        let source: Vec<_> = text.lines().collect();
        let blocks = lines::find_docs(&lines::split(&text));
        comments.extend(
            blocks
                .into_iter()
                .map(|block| show(&name.to_string_lossy(), &source, block)),
        );
    }
    Ok(comments)
}

fn show(name: &str, source: &[&str], block: DocBlock) -> Shown {
    let code = block.documented.and_then(|number| source.get(number - 1));
    Shown {
        place: format!("{name}:{}", block.line),
        marker: match block.kind {
            CommentKind::InnerDoc => "//!",
            _ => "///",
        },
        text: block.text,
        code: code.map_or_else(
            || "(the module itself)".to_owned(),
            |line| line.trim().to_owned(),
        ),
    }
}

/// Keeps `count` items, drawn without replacement, in the order in which they were drawn.
fn draw<T>(items: &mut Vec<T>, seed: u64, count: usize) {
    let mut state = seed;
    for at in 0..count.min(items.len()) {
        let left = (items.len() - at) as u64;
        let offset = usize::try_from(next_random(&mut state) % left).unwrap_or(0);
        items.swap(at, at + offset);
    }
    items.truncate(count);
}

/// Returns the next number of the pseudorandom number generator `SplitMix64`.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, count: usize) -> Vec<u32> {
        let mut items: Vec<u32> = (0..50).collect();
        draw(&mut items, seed, count);
        items
    }

    #[test]
    fn a_seed_draws_the_same_items_every_time() {
        assert_eq!(drawn(1, 10), drawn(1, 10));
        assert_ne!(drawn(1, 10), drawn(2, 10));
    }

    #[test]
    fn no_item_is_drawn_twice() {
        let mut items = drawn(7, 50);
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
        assert_eq!(drawn(7, 60).len(), 50);
    }

    #[test]
    fn arguments_name_a_seed_or_everything() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            parse(&arguments).ok()
        };
        let options = parse(&["--seed", "4", "--count", "9", "core"]);
        assert_eq!(
            options,
            Some(Options {
                seed: Some(4),
                count: 9,
                paths: vec!["core".into()]
            })
        );
        assert!(parse(&["--all"]).is_some());
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&["--seed"]), None);
        assert_eq!(parse(&["--seed", "4", "--all"]), None);
        assert_eq!(parse(&["--seed", "4", "--twice"]), None);
    }
}
