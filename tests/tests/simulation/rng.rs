//! The only source of chance in a run: everything that a seed decides is drawn here.
//!
//! Each actor has a stream of its own, so that its draws do not depend on which actor happened to run before
//! it. Nothing else may be random: no hash order, no time of day, no address.

/// A SplitMix64 generator: one multiplication short of being nothing, and enough to choose between a few
/// branches.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Self(seed);
        // Seeds are small and close to each other.
        rng.next();
        rng
    }

    /// Returns a stream that `label` distinguishes, and does not move this one.
    pub(crate) fn fork(&self, label: u64) -> Self {
        Self::new(self.0 ^ label.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Returns a number from 0 up to and not including `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns true in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        &choices[usize::try_from(index).expect("an index of a slice")]
    }

    /// Returns one of the choices, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        unreachable!("the weights add up to the total")
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
