//! The core is pure: what time it is and what is random comes in from outside.

use std::{fs, path::Path};

#[test]
fn no_clock_no_randomness_no_panic_by_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("src can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file is text");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let impure = ["SystemTime", "Instant", "rand::", "std::net", "std::thread", "async fn", "HashMap"];
            let panics = ["panic!", "unwrap()", "expect(", "todo!"];
            for banned in impure.into_iter().chain(panics) {
                assert!(!code.contains(banned), "{} uses {banned}", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 8, "the test looks at the wrong folder");
}
