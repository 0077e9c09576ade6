//! How many commands a connection may send per second.

/// What a connection has used up of its present second: eight bytes, because every connection has one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    second: u32,
    used: u32,
}

/// What to make of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it.
    Take,
    /// Refuse it.
    Refuse,
    /// So many were refused that the connection shall end.
    End,
}

impl Allowance {
    /// One more command has come in this second. A limit of 0 is none.
    pub(crate) fn spend(&mut self, second: u32, limit: u32) -> Verdict {
        if limit == 0 {
            return Verdict::Take;
        }
        if self.second != second {
            *self = Self { second, used: 0 };
        }
        self.used = self.used.saturating_add(1);
        match self.used {
            used if used <= limit => Verdict::Take,
            used if used <= limit.saturating_mul(2) => Verdict::Refuse,
            _ => Verdict::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_the_limit_is_refused_and_as_much_again_ends_it() {
        let mut allowance = Allowance::default();
        let mut spend = |second| allowance.spend(second, 2);
        let verdicts = [spend(1), spend(1), spend(1), spend(1), spend(1)];
        use Verdict::{End, Refuse, Take};
        assert_eq!(verdicts, [Take, Take, Refuse, Refuse, End]);
        assert_eq!([spend(2), spend(2), spend(2)], [Take, Take, Refuse], "another second, another allowance");
        assert_eq!(Allowance::default().spend(1, 0), Take);
    }
}
