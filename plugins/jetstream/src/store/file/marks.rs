//! Where some messages of a block lie, one for each so many bytes, in half of the memory that their sequences and
//! offsets would take: most are steps from the one before.

/// Marks that one is found among step by step, at most.
const GROUP_MAX: usize = 32;

/// Sequences from the block's first, and offsets in its file.
#[derive(Default)]
pub struct Marks {
    groups: Vec<Group>,
    /// Of all groups, each from the mark before: how many sequences and bytes further.
    steps: Vec<(u16, u16)>,
    /// The mark that was added last.
    last: Option<(u32, u32)>,
}

/// A mark, and those that follow it in steps.
struct Group {
    seq: u32,
    offset: u32,
    /// Where its steps begin.
    steps_at: u32,
}

/// Where a sequence is to be looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Near {
    /// The offset of the last mark up to it, or of the first one.
    pub mark: u32,
    /// About where it lies, if messages up to the next mark are of one size; `None`: there is no next one.
    pub about: Option<u32>,
}

impl Near {
    fn between(mark: (u32, u32), next: Option<(u32, u32)>, seq: u64) -> Self {
        let about = next.map(|next| {
            let seqs = u64::from(next.0.saturating_sub(mark.0));
            let bytes = u64::from(next.1.saturating_sub(mark.1));
            let share = bytes * seq.saturating_sub(mark.0.into()).min(seqs) / seqs.max(1);
            mark.1 + share as u32
        });
        Self { mark: mark.1, about }
    }
}

impl Marks {
    /// The offset that was added last.
    pub fn last_offset(&self) -> Option<u32> {
        self.last.map(|(_, offset)| offset)
    }

    /// Adds one behind all others.
    pub fn push(&mut self, seq: u32, offset: u32) {
        match self.step_to(seq, offset) {
            Some(step) => self.steps.push(step),
            None => self.groups.push(Group { seq, offset, steps_at: self.steps.len() as u32 }),
        }
        self.last = Some((seq, offset));
    }

    /// The step to a mark; `None` if it begins a group.
    fn step_to(&self, seq: u32, offset: u32) -> Option<(u16, u16)> {
        let (group, last) = (self.groups.last()?, self.last?);
        let has_room = self.steps.len() - (group.steps_at as usize) < GROUP_MAX - 1;
        let (seqs, bytes) = (seq.checked_sub(last.0)?, offset.checked_sub(last.1)?);
        let step = (u16::try_from(seqs).ok()?, u16::try_from(bytes).ok()?);
        has_room.then_some(step)
    }

    /// Where to look for a sequence. `None`: there is no mark.
    pub fn near(&self, seq: u64) -> Option<Near> {
        let at = self.groups.partition_point(|group| u64::from(group.seq) <= seq).saturating_sub(1);
        let (group, next_group) = (self.groups.get(at)?, self.groups.get(at + 1));
        let end = next_group.map_or(self.steps.len(), |next| next.steps_at as usize);
        let (mut of, mut offset) = (group.seq, group.offset);
        for (seqs, bytes) in &self.steps[group.steps_at as usize..end] {
            let next = (of + u32::from(*seqs), offset + u32::from(*bytes));
            if u64::from(next.0) > seq {
                return Some(Near::between((of, offset), Some(next), seq));
            }
            (of, offset) = next;
        }
        Some(Near::between((of, offset), next_group.map(|next| (next.seq, next.offset)), seq))
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn shrink_to_fit(&mut self) {
        self.groups.shrink_to_fit();
        self.steps.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::Marks;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_mark_before_a_sequence_is_found(
            steps in prop::collection::vec((1u32..70_000, prop_oneof![4000u32..9000, 60_000u32..70_000]), 0..200),
            asked in prop::collection::vec(0u64..3_000_000, 20),
        ) {
            let (mut marks, mut all, mut last) = (Marks::default(), Vec::new(), (0, 40));
            for (seqs, bytes) in steps {
                marks.push(last.0, last.1);
                all.push(last);
                prop_assert_eq!(marks.last_offset(), Some(last.1));
                last = (last.0 + seqs, last.1 + bytes);
            }
            let of_marks = all.iter().flat_map(|mark| [u64::from(mark.0), (u64::from(mark.0)).saturating_sub(1)]);
            for seq in asked.into_iter().chain(of_marks) {
                let after = all.iter().position(|mark| u64::from(mark.0) > seq).unwrap_or(all.len());
                let at = after.saturating_sub(1);
                let Some(near) = marks.near(seq) else {
                    prop_assert!(all.is_empty());
                    continue;
                };
                prop_assert_eq!(near.mark, all[at].1);
                let next = all.get(at + 1);
                prop_assert_eq!(near.about.is_some(), next.is_some());
                if let (Some(about), Some(next)) = (near.about, next) {
                    prop_assert!((near.mark..=next.1).contains(&about));
                    prop_assert!(u64::from(all[at].0) != seq || about == near.mark);
                }
            }
        }
    }
}
