//! Weighted rendezvous hashing with a hash that is the same in every version, so that mixed versions agree.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How much `member` wants `key`: the member with the highest score has it.
///
/// With `h` uniform in (0, 1) the score is `weight / -ln(h)`, so that a member's share of all keys
/// is its share of the weights, and a change of one member moves only that share (Schindelhauer and
/// Schomaker's logarithmic method).
pub fn score(member: &str, weight: u32, key: &str) -> f64 {
    let seed = xxh3_64_with_seed(member.as_bytes(), 0);
    let hash = xxh3_64_with_seed(key.as_bytes(), seed);
    // 53 bits are what an f64 holds exactly; the half step keeps the number inside (0, 1).
    let uniform = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(weight) / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner<'a>(members: &[(&'a str, u32)], key: &str) -> &'a str {
        let best = |a: &&(&str, u32), b: &&(&str, u32)| score(a.0, a.1, key).total_cmp(&score(b.0, b.1, key));
        members.iter().max_by(best).map(|member| member.0).unwrap()
    }

    #[test]
    fn the_hash_is_the_same_in_every_version() {
        let members = [("replica-a", 1), ("replica-b", 1), ("replica-c", 2)];
        let owners: Vec<&str> =
            ["news", "#42", "chat:1", "спорт", "x"].iter().map(|key| owner(&members, key)).collect();
        assert_eq!(owners, VECTORS);
    }

    // Never change these: they say which replica owns which channel in clusters that run.
    const VECTORS: [&str; 5] = ["replica-c", "replica-c", "replica-b", "replica-c", "replica-c"];

    #[test]
    fn shares_follow_weights() {
        let members = [("a", 1), ("b", 3)];
        let of_b = (0..10_000).filter(|key| owner(&members, &key.to_string()) == "b").count();
        assert!((7_200..7_800).contains(&of_b), "{of_b}");
    }

    #[test]
    fn a_member_that_leaves_moves_only_its_own_keys() {
        let all = [("a", 1), ("b", 1), ("c", 2)];
        let without_b = [all[0], all[2]];
        for key in (0..10_000).map(|key| key.to_string()) {
            let before = owner(&all, &key);
            assert!(before == "b" || before == owner(&without_b, &key), "{key} moved");
        }
    }
}
