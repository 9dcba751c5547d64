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

    /// The offset of the last mark up to a sequence, or of the first one. `None`: there is none.
    pub fn before(&self, seq: u64) -> Option<u32> {
        let at = self.groups.partition_point(|group| u64::from(group.seq) <= seq).saturating_sub(1);
        let group = self.groups.get(at)?;
        let end = self.groups.get(at + 1).map_or(self.steps.len(), |next| next.steps_at as usize);
        let (mut of, mut offset) = (group.seq, group.offset);
        for (seqs, bytes) in &self.steps[group.steps_at as usize..end] {
            of += u32::from(*seqs);
            if u64::from(of) > seq {
                break;
            }
            offset += u32::from(*bytes);
        }
        Some(offset)
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
                let expected = all.iter().rev().find(|mark| u64::from(mark.0) <= seq).or(all.first());
                prop_assert_eq!(marks.before(seq), expected.map(|mark| mark.1));
            }
        }
    }
}
