//! Sorting by numbers, for all that is sorted now and then: the code for it is there once.

/// The places of things by their keys, the lowest first; where keys are equal, in the order they came in.
pub fn order(keys: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut places: Vec<(u64, usize)> = keys.zip(0..).collect();
    places.sort_unstable();
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_is_first_and_equal_ones_keep_their_order() {
        assert_eq!(order([3, 1, 3, 0].into_iter()), [3, 1, 0, 2]);
        assert_eq!(order([].into_iter()), [0; 0]);
    }
}
