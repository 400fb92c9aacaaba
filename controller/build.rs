//! Rebuilds the program when the files of the web page change, because the files are embedded in
//! the program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../web/dist");
}
