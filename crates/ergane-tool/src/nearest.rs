//! The name somebody probably meant.

/// The candidate nearest to `name`, when it is near enough to be meant: at most a third of the letters differ (at least
/// one may), ignoring case.
///
/// ```
/// assert_eq!(ergane_tool::nearest("Raed", ["read", "glob"]), Some("read"));
/// assert_eq!(ergane_tool::nearest("weather", ["read", "glob"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = name.to_lowercase().chars().take(128).collect();
    let scored = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = candidate.to_lowercase().chars().take(128).collect();
        (distance(&wanted, &letters), wanted.len().max(letters.len()), candidate)
    });
    // A swap of two letters is two changes, so a short name is given two.
    let near = scored.filter(|(changes, length, _)| *changes < *length && *changes <= (length / 3).max(2));
    near.min_by_key(|(changes, ..)| *changes).map(|(_, _, candidate)| candidate)
}

/// How many letters have to be added, removed or replaced (Levenshtein), one row of the table at a time.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_found_and_a_far_one_is_not_forced() {
        let tools = ["read", "glob", "grep", "bash", "todo_write"];
        assert_eq!(nearest("Read", tools), Some("read"));
        assert_eq!(nearest("gerp", tools), Some("grep"));
        assert_eq!(nearest("todowrite", tools), Some("todo_write"));
        assert_eq!(nearest("zzzz", tools), None);
        assert_eq!(nearest("", tools), None);
        assert_eq!(nearest("read", []), None);
    }

    #[test]
    fn the_distance_counts_changes() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, changes) in
            [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(&letters(a), &letters(b)), changes, "{a} {b}");
        }
    }
}
